export { CALL_TOKEN_TYP, type CallTokenJwk, type CallTokens, createCallTokens } from './call-tokens.ts';
export type { Resolve } from './connector.ts';
export { readEndpoint } from './endpoint-address.ts';
export type { EndpointHealth } from './endpoints.ts';
export {
  type Challenge,
  createOwnership,
  type Ownership,
  type OwnershipDeps,
  type Proof,
} from './ownership.ts';
export { createRemoteServers, type RemoteMcp, type RemoteServersDeps } from './remote-servers.ts';
