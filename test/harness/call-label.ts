import type { RunInput } from '../../src/execution/index.ts';

/** The argument by which tests tell calls apart. */
export function labelOf({ request }: RunInput): string {
  const { arguments: given } = request.params;
  const isObject = typeof given === 'object' && given !== null && !Array.isArray(given);
  return String(isObject ? given.label : undefined);
}
