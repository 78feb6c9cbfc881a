import { createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { CallRefused } from './refused.ts';

/** The keys that a gateway signs with, by their `kid`. */
export type Keys = { find(kid: string): Promise<KeyObject> };

export type KeysOptions = {
  jwksUrl: string;
  fetch: typeof globalThis.fetch;
  now: () => Date;
};

/** As long as this keys are believed without asking again. */
const FRESH_MS = 10 * 60_000;
/** What was believed goes on being so while the gateway does not answer. */
const STALE_MS_MAX = 24 * 60 * 60_000;
/** Who makes up key ids does not make us ask more often than this. */
const FETCH_EVERY_MS = 30_000;
const FETCH_TIMEOUT_MS = 5_000;
const BYTES_MAX = 64 * 1024;
const KEYS_MAX = 32;

const keySchema = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  kid: z.string().max(256),
  x: z.string().max(64),
});
const setSchema = z.object({ keys: z.array(z.unknown()) });

/** Fetches and keeps a gateway's key set; a key that it lists no more is believed no more. */
export function createKeys({ jwksUrl, fetch, now }: KeysOptions): Keys {
  let known = new Map<string, KeyObject>();
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;
  let underWay: Promise<void> | undefined;

  const refresh = (): Promise<void> => {
    underWay ??= (async () => {
      triedAt = now().getTime();
      known = await fetchKeys(jwksUrl, fetch);
      fetchedAt = now().getTime();
    })().finally(() => {
      underWay = undefined;
    });
    return underWay;
  };
  return {
    async find(kid) {
      const age = now().getTime() - fetchedAt;
      const isWanted = age >= FRESH_MS || !known.has(kid);
      if (isWanted && (underWay !== undefined || now().getTime() - triedAt >= FETCH_EVERY_MS)) {
        const isUsable = known.has(kid) && age < STALE_MS_MAX;
        await refresh().catch((cause: unknown) => {
          if (!isUsable)
            throw new CallRefused('keys-unavailable', "The gateway's keys cannot be fetched.", { cause });
        });
      }
      if (now().getTime() - fetchedAt >= STALE_MS_MAX) {
        throw new CallRefused('keys-unavailable', "The gateway's keys cannot be fetched.");
      }
      const key = known.get(kid);
      if (key === undefined)
        throw new CallRefused('key', "The token is signed with a key that is not the gateway's.");
      return key;
    },
  };
}

async function fetchKeys(url: string, fetch: typeof globalThis.fetch): Promise<Map<string, KeyObject>> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`${url} answers HTTP ${response.status}`);
  const { keys } = setSchema.parse(JSON.parse(await readText(response)));
  const found = new Map<string, KeyObject>();
  for (const entry of keys.slice(0, KEYS_MAX)) {
    const { success, data } = keySchema.safeParse(entry);
    // Keys for other purposes stand in the same set.
    if (success) found.set(data.kid, createPublicKey({ key: data, format: 'jwk' }));
  }
  return found;
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > BYTES_MAX) throw new Error(`the key set is larger than ${BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
