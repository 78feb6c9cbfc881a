export { createConnectionCount } from './connection-count.ts';
export type { Guesses } from './guesses.ts';
export { type Limiter, type LimitName, spellLimit, tooMany } from './limiter.ts';
export { createLoadGate, type LoadGate, type RequestKind } from './load-gate.ts';
export { networkOf } from './network.ts';
export { createStalledReaders, READER_BOUNDS, type ReaderBounds } from './stalled-readers.ts';
export { refuseWith, type StaticRefusal, spellRefusal } from './static-refusal.ts';
export type { RatePolicy } from './token-bucket.ts';
export { createTraffic, type RatePolicies, type Traffic } from './traffic.ts';
