export type { X402Network } from './v1.ts';
export { createX402Wire, type X402WireDeps } from './x402-wire.ts';
