import { ApiError } from './api-error.ts';

const KEPT_MS = 24 * 60 * 60 * 1_000;

export type Answer = { status: number; body: object };
type Kept = { fingerprint: string; at: number; answer: Answer | undefined };

export type Idempotency = {
  /** Does the work of a key once, and answers every repetition with what the first came to. */
  run(
    input: { key: string; fingerprint: string },
    work: () => Promise<Answer>,
  ): Promise<Answer & { isReplay: boolean }>;
};

/** Idempotent requests as Stripe has them: kept for a day, errors too, unless the endpoint never began. */
export function createIdempotency(now: () => number): Idempotency {
  const kept = new Map<string, Kept>();
  return {
    async run({ key, fingerprint }, work) {
      const known = kept.get(key);
      if (known && now() - known.at < KEPT_MS) {
        if (known.fingerprint !== fingerprint) throw mismatch(key);
        if (!known.answer) throw inUse();
        return { ...known.answer, isReplay: true };
      }
      const entry: Kept = { fingerprint, at: now(), answer: undefined };
      kept.set(key, entry);
      try {
        entry.answer = await work();
        return { ...entry.answer, isReplay: false };
      } catch (error) {
        if (error instanceof ApiError && error.isKept) {
          entry.answer = { status: error.status, body: { error: error.body } };
        } else {
          kept.delete(key);
        }
        throw error;
      }
    },
  };
}

function mismatch(key: string): ApiError {
  const message = `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`;
  return new ApiError(400, { type: 'idempotency_error', message }, false);
}

function inUse(): ApiError {
  const message =
    'There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through). Please try again later.';
  return new ApiError(409, { type: 'idempotency_error', code: 'idempotency_key_in_use', message }, false);
}
