export type { WriterDeps, WriterTimeouts } from './broadcast.ts';
export {
  type ChainClient,
  type ChainClientOptions,
  type ChainTimeouts,
  createChainClient,
} from './client.ts';
export { type Block, type Finality, isDeepEnough, readFinality } from './finality.ts';
export type { MinedFacts, WriteOutcome } from './outcome.ts';
export type { ResumeReport } from './resume.ts';
export { createWriter, type WriteRequest, type Writer } from './writer.ts';
