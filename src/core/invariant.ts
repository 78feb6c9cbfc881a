/** Thrown when something that cannot be is: our bug, answered with 500 and no message. */
export class InvariantError extends Error {
  override name = 'InvariantError';
}

/** Stops the current work when `condition` does not hold; `message` is for the log only. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
