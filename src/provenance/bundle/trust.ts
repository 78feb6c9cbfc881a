/** What a verifier knows from elsewhere. What is given must match; what is left out is trusted, and said to be. */
export type Trust = {
  /** Keys of the log, of which one must have signed (C2SP vkey). */
  vkeys?: readonly string[] | undefined;
  /** Who told them, where it was not whoever runs the verifier: a sentence's end such as "which <url> served". */
  vkeysFrom?: string | undefined;
  /** Witnesses that all must have cosigned the checkpoint (C2SP vkey, type 4). */
  witnesses?: readonly string[] | undefined;
  /** Contracts that the log is anchored in. */
  contracts?: readonly { chainId: number; address: string }[] | undefined;
  /** Blocks known to be part of their chain, 0x hex. */
  blockHashes?: readonly string[] | undefined;
  /** SHA-256 of the code archive at hand, hex. */
  codeSha256?: string | undefined;
  /** The version that was asked for. */
  version?: { tool: string; version: string } | undefined;
  /** Nothing was logged, cosigned or anchored later than this, but for five minutes that clocks may differ by. */
  now?: Date | undefined;
};

const CLOCKS_DIFFER_SECONDS = 300;

/** The last moment that may be claimed, in unix seconds. */
export function latestTime({ now }: Trust): number {
  return now ? Math.floor(now.getTime() / 1_000) + CLOCKS_DIFFER_SECONDS : Number.POSITIVE_INFINITY;
}
