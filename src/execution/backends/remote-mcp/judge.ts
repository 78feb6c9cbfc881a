import type { IncomingHttpHeaders } from 'node:http';
import type { FailureReason } from '../../outcome.ts';
import type { Answer } from './ask.ts';
import type { Reply } from './messages.ts';

/** Why there is no answer. */
export type Refusal = {
  kind: 'failed';
  reason: FailureReason;
  detail: string;
  /** The endpoint itself could not be reached. */
  isUnreachable: boolean;
  retryAfterSeconds?: number;
};

const RETRY_AFTER_SECONDS_MAX = 3_600;
/** What stands before an endpoint says so when there is nothing behind it; 520 to 526 are Cloudflare's. */
const NOBODY_THERE = new Set([502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 530]);

/** What an HTTP answer comes to. */
export function judgeAnswer(answer: Answer): Reply | Refusal {
  switch (answer.kind) {
    case 'reply':
      return answer.reply;
    case 'broken':
      return { ...answer, kind: 'failed' };
    case 'paused':
      return fail('crashed', 'The server ended its stream again and again before it answered.');
    case 'status':
      return answer.error ?? judgeStatus(answer.status, answer.headers);
    default:
      return answer satisfies never;
  }
}

function judgeStatus(status: number, headers: IncomingHttpHeaders): Refusal {
  if (status >= 200 && status < 300)
    return fail('protocol', `The server answered HTTP ${status} without an answer.`);
  if (status >= 300 && status < 400) {
    return fail(
      'protocol',
      `The server answered with a redirect (HTTP ${status}); redirects are not followed: its publisher must register the final address.`,
    );
  }
  if (status === 401 || status === 403) {
    return fail(
      'tool-error',
      `The server refused the gateway's call (HTTP ${status}); its publisher must accept the gateway's tokens.`,
    );
  }
  if (status === 429) {
    return { ...fail('unreachable', 'The server is asked too much (HTTP 429).'), ...readRetryAfter(headers) };
  }
  if (NOBODY_THERE.has(status)) {
    const refusal = fail(
      'unreachable',
      `The endpoint answers that its server is not there (HTTP ${status}).`,
    );
    return { ...refusal, isUnreachable: true, ...readRetryAfter(headers) };
  }
  return fail('tool-error', `The server answered HTTP ${status}.`);
}

/** Whole seconds (RFC 9110, section 10.2.3); a date is rare, and left out. */
function readRetryAfter(headers: IncomingHttpHeaders): { retryAfterSeconds?: number } {
  const text = String(headers['retry-after'] ?? '');
  if (!/^\d{1,6}$/.test(text)) return {};
  return { retryAfterSeconds: Math.min(Math.max(Number(text), 1), RETRY_AFTER_SECONDS_MAX) };
}

function fail(reason: FailureReason, detail: string): Refusal {
  return { kind: 'failed', reason, detail, isUnreachable: false };
}
