import { bucketOf, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Queryable, Tx } from '../db/index.ts';
import type { apiKey } from './schema.ts';

type ApiKeyRow = typeof apiKey.$inferSelect;

export type NewKeyRow = Pick<
  ApiKeyRow,
  'id' | 'hash' | 'accountId' | 'publisherId' | 'label' | 'expiresAt'
> & {
  scopes: readonly string[];
};

export type FoundKeyRow = Pick<
  ApiKeyRow,
  'id' | 'accountId' | 'publisherId' | 'scopes' | 'expiresAt' | 'revokedAt'
>;

export type ListedKeyRow = Omit<FoundKeyRow, 'accountId' | 'publisherId'> &
  Pick<ApiKeyRow, 'label' | 'createdAt'>;

/**
 * SQL that lists, out of an array of key ids, those that may still spend. The charge statement contains it,
 * so no call is charged on a key whose revocation was answered before.
 */
export function keyGuard(parameter: number): string {
  invariant(Number.isInteger(parameter) && parameter > 0, `not a parameter number: ${parameter}`);
  return `SELECT k.id FROM api_key k WHERE k.id = ANY($${parameter}::uuid[]) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())`;
}

/** Whether a key may still spend, asked in the transaction that takes the money. */
export async function maySpend(tx: Tx, keyId: Uuid): Promise<boolean> {
  const rows = await tx`SELECT 1 FROM api_key
    WHERE id = ${keyId} AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`;
  return rows.length > 0;
}

/** Inserts the key, or finds the one that has this hash already. */
export async function insertKey(tx: Tx, row: NewKeyRow): Promise<{ id: Uuid; accountId: Uuid }> {
  const [inserted] = await tx<{ id: Uuid; accountId: Uuid }[]>`
    INSERT INTO api_key (bucket, id, hash, account_id, publisher_id, scopes, label, expires_at)
    VALUES (${bucketOf(row.id)}, ${row.id}, ${row.hash}, ${row.accountId}, ${row.publisherId},
      ${row.scopes as string[]}::text[], ${row.label}, ${row.expiresAt})
    ON CONFLICT (hash) DO NOTHING
    RETURNING id, account_id`;
  if (inserted) return inserted;
  // A statement of its own: the insert waited for its racer, and only a new snapshot sees that row.
  const [existing] = await tx<{ id: Uuid; accountId: Uuid }[]>`
    SELECT id, account_id FROM api_key WHERE hash = ${row.hash}`;
  invariant(existing, 'a key that conflicted is there');
  return existing;
}

export async function findKeyByHash(sql: Queryable, hash: Buffer): Promise<FoundKeyRow | undefined> {
  const [row] = await sql<FoundKeyRow[]>`
    SELECT id, account_id, publisher_id, scopes, expires_at, revoked_at FROM api_key WHERE hash = ${hash}`;
  return row;
}

export function listKeys(
  sql: Queryable,
  input: { accountId: Uuid; rowsMax: number },
): Promise<ListedKeyRow[]> {
  return sql<ListedKeyRow[]>`
    SELECT id, scopes, label, created_at, expires_at, revoked_at FROM api_key
    WHERE account_id = ${input.accountId} ORDER BY created_at DESC, id LIMIT ${input.rowsMax}`;
}

/** False when the account has no such key. The first revocation's time stays. */
export async function revokeKey(sql: Queryable, input: { accountId: Uuid; keyId: Uuid }): Promise<boolean> {
  const rows = await sql`
    UPDATE api_key SET revoked_at = coalesce(revoked_at, now())
    WHERE id = ${input.keyId} AND bucket = ${bucketOf(input.keyId)} AND account_id = ${input.accountId}
    RETURNING id`;
  return rows.length > 0;
}

export type WindowInput = { name: string; max: number; windowMs: number };

/**
 * Takes one from the window that is open now, by the database's clock, which all gateways share. The row
 * lock of the upsert lets racers in one by one; no row comes back once the window is used up.
 */
export async function takeOne(sql: Queryable, input: WindowInput): Promise<number | undefined> {
  const [row] = await sql<{ count: number }[]>`
    INSERT INTO rate_window AS w (name, starts_at, count)
    VALUES (${input.name}, date_bin(${input.windowMs} * interval '1 millisecond', now(), 'epoch'), 1)
    ON CONFLICT (name, starts_at) DO UPDATE SET count = w.count + 1 WHERE w.count < ${input.max}
    RETURNING count`;
  return row?.count;
}

/** Whole seconds until the next window opens. */
export async function secondsToNextWindow(sql: Queryable, windowMs: number): Promise<number> {
  const [row] = await sql<{ seconds: number }[]>`
    SELECT ceil(extract(epoch FROM date_bin(w.length, now(), 'epoch') + w.length - now()))::int AS seconds
    FROM (SELECT ${windowMs} * interval '1 millisecond' AS length) w`;
  return Math.max(1, row?.seconds ?? 1);
}

/** Drops the windows of this name before the one that is open now. */
export async function deletePastWindows(
  sql: Queryable,
  input: { name: string; windowMs: number },
): Promise<void> {
  await sql`
    DELETE FROM rate_window WHERE name = ${input.name}
      AND starts_at < date_bin(${input.windowMs} * interval '1 millisecond', now(), 'epoch')`;
}

/** Drops windows of any name that began long ago; locked rows are left for the next time. */
export async function deleteOldWindows(
  sql: Queryable,
  input: { olderThanMs: number; rowsMax: number },
): Promise<number> {
  const rows = await sql`
    DELETE FROM rate_window WHERE (name, starts_at) IN (
      SELECT name, starts_at FROM rate_window
      WHERE starts_at < now() - ${input.olderThanMs} * interval '1 millisecond'
      LIMIT ${input.rowsMax} FOR UPDATE SKIP LOCKED)
    RETURNING 1`;
  return rows.length;
}
