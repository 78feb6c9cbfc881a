/** What a check throws when it does not hold; its message is the reason a person reads. Never leaves a verifier. */
export class RefutedError extends Error {}

/** Ends a verification with a reason when `condition` does not hold. */
export function check(condition: unknown, reason: string): asserts condition {
  if (!condition) throw new RefutedError(reason);
}

export function refute(reason: string): never {
  throw new RefutedError(reason);
}
