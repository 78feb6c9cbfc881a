import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import type { Queryable, Tx } from '../db/index.ts';
import { addStoredBytes, findAllotmentUse, findStored } from './store.ts';

/** What one publisher may publish: each version is kept for good, and so is its place in the log. */
export const VERSIONS_PER_DAY_MAX = 200;
export const STORED_BYTES_MAX = 2 * 1024 * 1024 * 1024;

const DAY_MS = 24 * 60 * 60 * 1000;

/** Refuses a publication that would be one too many today, or one too large for all that is kept. */
export async function refuseOverAllotment(
  sql: Queryable,
  { publisherId, now, bytes }: { publisherId: Uuid; now: Date; bytes: number },
): Promise<void> {
  const since = new Date(now.getTime() - DAY_MS);
  const use = await findAllotmentUse(sql, { publisherId, since, countMax: VERSIONS_PER_DAY_MAX });
  if (use.oldest && use.count >= VERSIONS_PER_DAY_MAX) {
    const freeAt = use.oldest.getTime() + DAY_MS;
    throw new Problem('too-many-requests', {
      detail: `You published ${VERSIONS_PER_DAY_MAX} versions within a day, the most one publisher may.`,
      retryAfterSeconds: Math.max(1, Math.ceil((freeAt - now.getTime()) / 1000)),
    });
  }
  if (use.storedBytes + BigInt(bytes) <= STORED_BYTES_MAX) return;
  throw new Problem('body-too-large', {
    detail:
      `The code and dependencies of all your versions may have ${STORED_BYTES_MAX} bytes together. ` +
      `${use.storedBytes} are taken, and this version would add ${bytes}.`,
  });
}

/** Counts what a publication stores. The caller holds the publisher's row. */
export async function takeAllotment(
  tx: Tx,
  input: {
    publisherId: Uuid;
    now: Date;
    code: { sha256: string; archive: Uint8Array };
    layer: { sha256: string; bytes: number } | undefined;
  },
): Promise<void> {
  const { publisherId, now, code, layer } = input;
  const stored = await findStored(tx, {
    publisherId,
    ...{ codeSha256: code.sha256, layerSha256: layer?.sha256 ?? null },
  });
  const bytes = (stored.hasCode ? 0 : code.archive.length) + (stored.hasLayer ? 0 : (layer?.bytes ?? 0));
  await refuseOverAllotment(tx, { publisherId, now, bytes });
  await addStoredBytes(tx, { publisherId, bytes });
}
