/** The bounds of one call. Every tool runs inside the platform's unless it declares tighter ones. */
export type Limits = {
  /** From spawn to answer, milliseconds. */
  runTimeoutMs: number;
  memoryBytesMax: number;
  /** Processes and threads together. */
  pidsMax: number;
  /** stdout and stderr together. */
  outputBytesMax: number;
  /** Writable space under /tmp. */
  tmpBytesMax: number;
};

export const DEFAULT_LIMITS: Limits = {
  runTimeoutMs: 5_000,
  memoryBytesMax: 512 * 1024 * 1024,
  pidsMax: 32,
  outputBytesMax: 1024 * 1024,
  tmpBytesMax: 64 * 1024 * 1024,
};
