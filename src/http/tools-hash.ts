import { Problem } from '../core/problem.ts';

const TOOLS_HASH = /^sha256:[0-9a-f]{64}$/;

/**
 * The hash of the tools that a caller expects, hex, from every place where a request may say it; undefined when it
 * does not. A condition that cannot be read is refused: the caller wanted one.
 */
export function readToolsHash(given: readonly unknown[]): string | undefined {
  const [first, ...others] = given.filter((value) => value !== undefined);
  if (first === undefined) return undefined;
  if (typeof first === 'string' && TOOLS_HASH.test(first) && others.every((other) => other === first)) {
    return first.slice('sha256:'.length);
  }
  throw new Problem('malformed-request', {
    detail:
      'Expect-Tools-Hash is "sha256:" and 64 hex digits in lower case, the tools_hash of the listing, and the same wherever it is said.',
    isUncharged: true,
  });
}
