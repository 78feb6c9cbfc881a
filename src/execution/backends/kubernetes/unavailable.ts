import { Problem } from '../../../core/problem.ts';

const RETRY_AFTER_SECONDS = 5;

export function unavailable(
  detail: string,
  cause?: unknown,
  retryAfterSeconds = RETRY_AFTER_SECONDS,
): Problem {
  return new Problem('unavailable', { detail, cause, retryAfterSeconds, isUncharged: true });
}
