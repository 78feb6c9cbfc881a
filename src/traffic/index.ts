export type { Guesses } from './guesses.ts';
export { type Limiter, type LimitName, spellLimit, tooMany } from './limiter.ts';
export { networkOf } from './network.ts';
export type { RatePolicy } from './token-bucket.ts';
export { createTraffic, type RatePolicies, type Traffic } from './traffic.ts';
