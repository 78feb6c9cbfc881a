/** What the demo ends with when something is not as it should be. */
export class DemoFailure extends Error {
  override name = 'DemoFailure';
}

/** Stops the demo when `condition` does not hold; `expectation` completes "It should be that". */
export function must(condition: unknown, expectation: string): asserts condition {
  if (!condition) throw new DemoFailure(`It should be that ${expectation}.`);
}

/** Stops the demo when two values differ. */
export function mustEqual<T extends string | number | bigint | boolean>(
  actual: T | undefined,
  expected: T,
  what: string,
): void {
  if (actual !== expected) throw new DemoFailure(`${what} should be ${expected} and is ${actual}.`);
}
