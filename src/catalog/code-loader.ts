import { readArchive } from '../core/archive.ts';
import { sha256Hex } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { invariant } from '../core/invariant.ts';
import type { Sql } from '../db/index.ts';
import type { Code, Layer } from '../execution/backend.ts';
import { createCache } from './cache.ts';
import type { Version } from './listing.ts';
import { findArchive } from './store.ts';

const CACHED_BYTES_MAX = 64 * 1024 * 1024;

/** Loads the code of versions; what the database gives is run only if it is what was logged. */
export function createCodeLoader({ sql, clock, openLayer }: CodeLoaderDeps) {
  const cache = createCache<Buffer>(
    { weightMax: CACHED_BYTES_MAX, weigh: ({ length }) => length, ttlMs: Number.POSITIVE_INFINITY },
    clock,
  );
  return async ({ codeSha256, runtime, entrypoint, layerSha256, rootSha256 }: CodeOf): Promise<Code> => {
    invariant(runtime, `code ${codeSha256} names an endpoint and does not run here`);
    const loaded = await cache.get(codeSha256, () => load(sql, codeSha256));
    invariant(loaded, `code ${codeSha256} is not in the catalog`);
    return {
      ...{ sha256: codeSha256, runtime, entrypoint, archive: loaded },
      ...(layerSha256 === null ? {} : { layer: openLayer(layerSha256) }),
      ...(rootSha256 === null ? {} : { rootSha256 }),
    };
  };
}

export type CodeLoaderDeps = { sql: Sql; clock: Clock; openLayer(sha256: string): Layer };

/** Two versions may start different files of the same code, so the hash alone does not say what runs. */
export type CodeOf = Pick<Version, 'codeSha256' | 'runtime' | 'entrypoint' | 'layerSha256' | 'rootSha256'>;

async function load(sql: Sql, sha256: string): Promise<Buffer | undefined> {
  const archive = await findArchive(sql, sha256);
  if (!archive) return undefined;
  invariant(sha256Hex(archive) === sha256, `the stored code of ${sha256} has changed`);
  // Also refuses paths that climb out, and whatever else is not the one canonical form.
  readArchive(archive);
  return archive;
}
