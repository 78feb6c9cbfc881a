import { timeLimit } from '../../core/time-limit.ts';

/** A gateway from outside: every answer is bounded in time and size, and follows no redirect. */
export type Door = {
  /** Undefined when there is no such thing (404). */
  bytes(path: string): Promise<Buffer | undefined>;
  json(path: string): Promise<unknown>;
};

const TIMEOUT_MS = 60_000;
/** A tile of 256 entries of the longest kind is 16 MB; ours are below 100 KB. */
const BYTES_MAX = 20 * 1024 * 1024;

export function openDoor(input: { url: string; key: string; signal: AbortSignal }): Door {
  async function bytes(path: string): Promise<Buffer | undefined> {
    const response = await fetch(input.url + path, {
      headers: path.startsWith('/v1/') ? { authorization: `Bearer ${input.key}` } : {},
      redirect: 'error',
      signal: timeLimit(input.signal, TIMEOUT_MS),
    });
    const body = await readBounded(response, path);
    if (response.ok) return body;
    if (response.status === 404) return undefined;
    throw new Error(`${path} answered ${response.status}: ${body.toString('utf8', 0, 500)}`);
  }
  return {
    bytes,
    async json(path) {
      const body = await bytes(path);
      if (body === undefined) throw new Error(`${path} is not there`);
      try {
        return JSON.parse(body.toString());
      } catch {
        throw new Error(`${path} did not answer JSON`);
      }
    },
  };
}

async function readBounded(response: Response, path: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > BYTES_MAX) throw new Error(`${path} answered more than ${BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
