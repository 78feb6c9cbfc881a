/** Files that a process of a tool may have open. */
export const OPEN_FILES_MAX = 256;

export { DEFAULT_LIMITS, LIMIT_CEILINGS, LIMIT_FLOORS, type Limits } from '../core/limits.ts';
