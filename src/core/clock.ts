/** Where the time comes from, so that tests can move it. */
export type Clock = { now(): Date };

export const systemClock: Clock = { now: () => new Date() };

/** Whole seconds since 1970, the unit of JWS `iat` and EIP-3009 `validBefore`. */
export function toUnixSeconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}

let lastSpelled = { time: Number.NaN, text: '' };

/** ISO 8601 in UTC. What an answer says in several places, and many answers say within a millisecond, is spelled once. */
export function toIsoText(date: Date): string {
  const time = date.getTime();
  if (time !== lastSpelled.time) lastSpelled = { time, text: date.toISOString() };
  return lastSpelled.text;
}

export function addMs(date: Date, ms: number): Date {
  return new Date(date.getTime() + ms);
}
