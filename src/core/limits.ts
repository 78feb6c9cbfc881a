/** The bounds of one call. Every tool runs inside the platform's unless it declares others below the ceilings. */
export type Limits = {
  /** From the code's arrival in a jail to the answer, milliseconds. */
  runTimeoutMs: number;
  memoryBytesMax: number;
  /** Processes and threads together. */
  pidsMax: number;
  /** stdout and stderr together. */
  outputBytesMax: number;
  /** Writable space under /tmp. */
  tmpBytesMax: number;
};

const MIB = 1024 * 1024;

export const DEFAULT_LIMITS: Limits = {
  runTimeoutMs: 5_000,
  memoryBytesMax: 512 * MIB,
  pidsMax: 32,
  outputBytesMax: MIB,
  tmpBytesMax: 64 * MIB,
};

/** The most that a tool may ask for. */
export const LIMIT_CEILINGS: Limits = {
  runTimeoutMs: 60_000,
  memoryBytesMax: 1024 * MIB,
  pidsMax: 64,
  outputBytesMax: 8 * MIB,
  tmpBytesMax: 256 * MIB,
};

/** The least that makes sense: below it nothing starts. */
export const LIMIT_FLOORS: Limits = {
  runTimeoutMs: 100,
  memoryBytesMax: 64 * MIB,
  pidsMax: 8,
  outputBytesMax: 4 * 1024,
  tmpBytesMax: MIB,
};
