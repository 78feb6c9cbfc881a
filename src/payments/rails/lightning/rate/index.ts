export { toMillicentsRoundedDown, toSatsRoundedUp } from './convert.ts';
export { createFixedRate, createRate, type Rate, type RateDeps, type RateReading } from './rate.ts';
export { createRateSource, type RateSource, type RateSourceName } from './sources.ts';
