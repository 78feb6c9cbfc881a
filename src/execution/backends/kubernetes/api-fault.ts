import { z } from 'zod';

/** A refusal of the API server: a `Status` (API concepts, "Status" kind), or an HTTP answer of something before it. */
export class ApiFault extends Error {
  readonly status: number;
  /** Such as `NotFound` or `Forbidden`; empty when none was given. */
  readonly reason: string;
  readonly retryAfterMs: number;

  constructor(status: number, reason: string, message: string, retryAfterMs: number) {
    super(message);
    this.name = 'ApiFault';
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

const MESSAGE_LENGTH_MAX = 400;
const RETRY_AFTER_MS = 1_000;

const statusSchema = z.object({
  kind: z.literal('Status'),
  message: z.string().default(''),
  reason: z.string().default(''),
});

export function explainRefusal(status: number, text: string, retryAfter: string | undefined): ApiFault {
  const parsed = statusSchema.safeParse(parse(text));
  const { message, reason } = parsed.success ? parsed.data : { message: '', reason: '' };
  const seconds = Number(retryAfter);
  return new ApiFault(
    status,
    reason,
    `HTTP ${status} ${reason} ${message}`.replace(/\s+/g, ' ').trim().slice(0, MESSAGE_LENGTH_MAX),
    Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : RETRY_AFTER_MS,
  );
}

/** For what somebody else may have done already. Undefined when the answer was one of these statuses. */
export async function unlessStatus<T>(
  statuses: readonly number[],
  request: Promise<T>,
): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof ApiFault && statuses.includes(error.status)) return undefined;
    throw error;
  }
}

/** One public sentence's end: where a cluster is, and what it says of itself, is for the log. */
export function explainFailure(error: unknown): string {
  if (error instanceof ApiFault) return explainStatus(error);
  if (!(error instanceof Error)) return 'it failed.';
  if ('code' in error && typeof error.code === 'string' && error.code !== 'ABORT_ERR')
    return `its API server cannot be reached (${error.code}).`;
  if (error.name === 'TimeoutError' || error.name === 'AbortError')
    return 'its API server did not answer in time.';
  return error.message.replace(/\s+/g, ' ').trim().slice(0, MESSAGE_LENGTH_MAX);
}

function explainStatus({ status, reason, message }: ApiFault): string {
  if (status === 401) return 'its API server does not know us: the token or certificate is not valid.';
  if (status === 403 && /exceeded quota/.test(message)) return 'the quota of its namespace is used up.';
  if (status === 403) return 'its API server forbids what jails need: see the role in OPERATIONS.md.';
  if (status === 429) return 'its API server has too much to do.';
  return `its API server answered with HTTP ${status}${reason && ` (${reason})`}, about which the log says more.`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
