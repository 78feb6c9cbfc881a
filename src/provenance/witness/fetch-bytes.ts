import { readBounded, settleBy } from '../../core/bounded-answer.ts';
import { timeLimit } from '../../core/time-limit.ts';

export type FetchBytes = {
  url: string;
  timeoutMs: number;
  bytesMax: number;
  /** Makes it a POST. */
  body?: string;
};

export type BytesAnswer = { status: number; contentType: string; bytes: Buffer };

/** One request, bounded in time and size, that follows no redirect. Answers whatever the status; else says why not. */
export async function fetchBytes(input: FetchBytes, signal: AbortSignal): Promise<BytesAnswer> {
  const { url, body, timeoutMs, bytesMax } = input;
  const limit = timeLimit(signal, timeoutMs);
  try {
    const asked = fetch(url, {
      ...(body === undefined ? {} : { method: 'POST', body }),
      headers: body === undefined ? {} : { 'content-type': 'text/plain; charset=utf-8' },
      redirect: 'error',
      signal: limit,
    });
    const response = await settleBy(limit, asked);
    const bytes = await readBounded(response, { bytesMax, signal: limit });
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', bytes };
  } catch (cause) {
    throw new Error(`${url} does not answer: ${describeCause(cause)}`, { cause });
  }
}

/** `fetch` says "fetch failed", and what failed in its cause. */
function describeCause(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error ? thrown.cause.message || thrown.cause.name : thrown.message;
}
