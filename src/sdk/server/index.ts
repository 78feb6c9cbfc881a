export { type NodeCall, protectFetch, protectNode } from './protect.ts';
export { CallRefused, type RefusalReason } from './refused.ts';
export { createReplayCache, type ReplayCache } from './replays.ts';
export {
  createMillicentVerifier,
  type MillicentCall,
  type MillicentVerifier,
  type VerifierOptions,
  type VerifyInput,
} from './verify-call.ts';
