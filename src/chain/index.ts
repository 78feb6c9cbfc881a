export type { WriterDeps, WriterTimeouts } from './broadcast.ts';
export {
  type ChainClient,
  type ChainClientOptions,
  type ChainTimeouts,
  createChainClient,
} from './client.ts';
export { FeesTooHighError } from './fees.ts';
export { type Block, type Finality, isDeepEnough, readFinality, readFinalNumber } from './finality.ts';
export type { MinedFacts, WriteOutcome } from './outcome.ts';
export { type Receipt, readReceipt } from './receipt.ts';
export { createRemoteSigner, type RemoteSigner, type RemoteSignerOptions } from './remote-signer.ts';
export type { ResumeReport } from './resume.ts';
export { isRevert } from './revert.ts';
export { isSignedByAccount } from './signed-message.ts';
export { readWalletHealth, type WalletHealth } from './wallet-health.ts';
export { createWriter, type WriteRequest, type Writer } from './writer.ts';
