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
  try {
    const response = await fetch(url, {
      ...(body === undefined ? {} : { method: 'POST', body }),
      headers: body === undefined ? {} : { 'content-type': 'text/plain; charset=utf-8' },
      redirect: 'error',
      signal: timeLimit(signal, timeoutMs),
    });
    const bytes = await readBounded(response, bytesMax);
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', bytes };
  } catch (cause) {
    throw new Error(`${url} does not answer: ${describeCause(cause)}`, { cause });
  }
}

async function readBounded(response: Response, bytesMax: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error(`more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** `fetch` says "fetch failed", and what failed in its cause. */
function describeCause(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error ? thrown.cause.message || thrown.cause.name : thrown.message;
}
