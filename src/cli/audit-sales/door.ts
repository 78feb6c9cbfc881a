import { AnswerError, download } from '../verify/http.ts';

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
    const headers = path.startsWith('/v1/') ? { authorization: `Bearer ${input.key}` } : {};
    try {
      return await download(input.url + path, {
        ...{ bytesMax: BYTES_MAX, timeoutMs: TIMEOUT_MS, signal: input.signal },
        headers,
      });
    } catch (cause) {
      if (cause instanceof AnswerError && cause.status === 404) return undefined;
      throw cause;
    }
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
