import { setTimeout as sleep } from 'node:timers/promises';
import { decodeEntryTile, ENTRY_TILE_BYTES_MAX } from '../../log/tiles/entry-tile.ts';
import { encodeTilePath, type TilePath } from '../../log/tiles/path.ts';
import { TILE_WIDTH } from '../../log/tiles/tile.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import { type BytesAnswer, fetchBytes } from '../fetch-bytes.ts';
import { Alarm } from './alarm.ts';

/** A log as anyone reads it over HTTP (C2SP tlog-tiles). Nothing that comes from it is believed here. */
export type RemoteLog = {
  /** Undefined when the log has none yet. */
  readCheckpoint(): Promise<string | undefined>;
  /** The keys it says it has, the current one first. */
  readVkeys(): Promise<string[]>;
  /** The first `width` hashes of a tile that a signed checkpoint promises. */
  readTile(tile: { level: number; n: number; width: number }): Promise<Buffer>;
  /** The first `width` entries of a bundle, in order. */
  readEntries(bundle: { n: number; width: number }): Promise<Buffer[]>;
};

const TIMEOUT_MS = 30_000;
const NOTE_BYTES_MAX = 1_000_000;
const ATTEMPTS_MAX = 4;
const PAUSE_MS = 500;

/** `prefix` is where the log's routes begin, for example `https://gateway.example/log`. */
export function createRemoteLog(prefix: string, signal: AbortSignal): RemoteLog {
  const get = (path: string, bytesMax: number) => getPatiently(`${prefix}${path}`, bytesMax, signal);
  /** A partial tile may be gone once the full one is there. */
  async function readPart(tile: TilePath, bytesMax: number): Promise<Buffer> {
    const path = `/tile/${encodeTilePath(tile)}`;
    const full = `/tile/${encodeTilePath({ ...tile, width: TILE_WIDTH })}`;
    const answer = (await get(path, bytesMax)) ?? (path === full ? undefined : await get(full, bytesMax));
    if (!answer) throw new Alarm('withheld', `${prefix}${path} is not there, and the checkpoint promises it`);
    return answer;
  }
  return {
    readCheckpoint: async () => (await get('/checkpoint', NOTE_BYTES_MAX))?.toString('utf8'),
    async readVkeys() {
      const text = (await get('/vkey', NOTE_BYTES_MAX))?.toString('utf8') ?? '';
      return text.split('\n').filter((line) => line !== '');
    },
    async readTile({ level, n, width }) {
      const bytes = await readPart({ level, n, width }, TILE_WIDTH * HASH_BYTES);
      if (bytes.length < width * HASH_BYTES) {
        throw new Alarm(
          'rewritten',
          `tile ${level}/${n} has ${bytes.length} bytes and should hold ${width} hashes`,
        );
      }
      return bytes.subarray(0, width * HASH_BYTES);
    },
    async readEntries({ n, width }) {
      const bytes = await readPart({ level: 'entries', n, width }, ENTRY_TILE_BYTES_MAX);
      const entries = decodeEntryTile(bytes);
      if (!entries || entries.length < width)
        throw new Alarm('rewritten', `bundle ${n} of entries does not hold ${width} whole entries`);
      return entries.slice(0, width);
    },
  };
}

/** Undefined for 404. A gateway that restarts is asked again; one that does not come back is no alarm. */
async function getPatiently(url: string, bytesMax: number, signal: AbortSignal): Promise<Buffer | undefined> {
  let trouble: unknown;
  for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts += 1) {
    if (attempts > 0) await sleep(PAUSE_MS * 2 ** attempts, undefined, { signal });
    try {
      const answer = await fetchBytes({ url, timeoutMs: TIMEOUT_MS, bytesMax }, signal);
      if (answer.status === 200) return answer.bytes;
      if (answer.status === 404) return undefined;
      trouble = refusal(url, answer);
      if (answer.status < 500 && answer.status !== 429) break;
    } catch (cause) {
      if (signal.aborted) throw cause;
      trouble = cause;
    }
  }
  throw trouble;
}

function refusal(url: string, { status, bytes }: BytesAnswer): Error {
  return new Error(`${url} answered ${status}: ${bytes.toString('utf8').slice(0, 200).trim()}`);
}
