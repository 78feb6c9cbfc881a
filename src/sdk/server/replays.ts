/** Remembers the tokens of one process that were used. */
export type ReplayCache = {
  /** False when a token with this id came before. */
  take(id: string, expiresAt: Date, now: Date): boolean;
};

const TOKENS_MAX = 100_000;

/** A bounded cache: tokens live 15 minutes, and of too many the oldest is forgotten first. */
export function createReplayCache(options: { tokensMax?: number } = {}): ReplayCache {
  const { tokensMax = TOKENS_MAX } = options;
  const used = new Map<string, number>();
  return {
    take(id, expiresAt, now) {
      if (used.has(id)) return false;
      for (const [oldest, until] of used) {
        if (until > now.getTime() && used.size < tokensMax) break;
        used.delete(oldest);
      }
      used.set(id, expiresAt.getTime());
      return true;
    },
  };
}
