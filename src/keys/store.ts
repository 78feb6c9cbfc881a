import { bucketOf, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Queryable, Tx } from '../db/index.ts';
import type { Reach } from './principal.ts';
import type { apiKey } from './schema.ts';

type ApiKeyRow = typeof apiKey.$inferSelect;

type Rights = 'ancestorIds' | 'capIds' | 'tools';

export type NewKeyRow = Pick<
  ApiKeyRow,
  'id' | 'hash' | 'accountId' | 'publisherId' | 'parentId' | 'label' | 'expiresAt' | Rights
> & {
  scopes: readonly string[];
};

export type FoundKeyRow = Pick<
  ApiKeyRow,
  'id' | 'accountId' | 'publisherId' | 'scopes' | 'expiresAt' | 'revokedAt' | Rights
> & {
  /** Until when the secret it was found by works, when a rotation has replaced that. */
  validUntil: Date | null;
};

export type ListedKeyRow = Pick<
  ApiKeyRow,
  'id' | 'parentId' | 'label' | 'scopes' | 'tools' | 'capIds' | 'createdAt' | 'expiresAt' | 'revokedAt'
>;

/** One key of a line from the first of an account downwards. */
export type LineKeyRow = Pick<
  ApiKeyRow,
  'id' | 'publisherId' | 'scopes' | 'tools' | 'capIds' | 'expiresAt'
> & {
  isLive: boolean;
};

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

/** Inserts the key, or finds the one that has this hash already, or had it before a rotation. */
export async function insertKey(tx: Tx, row: NewKeyRow): Promise<{ id: Uuid; accountId: Uuid }> {
  const [former] = await tx<{ id: Uuid; accountId: Uuid }[]>`
    SELECT k.id, k.account_id FROM api_key_former f JOIN api_key k ON k.id = f.key_id WHERE f.hash = ${row.hash}`;
  if (former) return former;
  const [inserted] = await tx<{ id: Uuid; accountId: Uuid }[]>`
    INSERT INTO api_key (bucket, id, hash, account_id, publisher_id, parent_id, ancestor_ids, cap_ids, tools,
      scopes, label, expires_at)
    VALUES (${bucketOf(row.id)}, ${row.id}, ${row.hash}, ${row.accountId}, ${row.publisherId}, ${row.parentId},
      ${row.ancestorIds}::uuid[], ${row.capIds}::uuid[], ${row.tools}::text[],
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
    SELECT k.id, k.account_id, k.publisher_id, k.scopes, k.ancestor_ids, k.cap_ids, k.tools, k.expires_at,
      k.revoked_at, s.valid_until
    FROM (SELECT id, NULL::timestamptz AS valid_until FROM api_key WHERE hash = ${hash}
      UNION ALL SELECT key_id, valid_until FROM api_key_former WHERE hash = ${hash} AND valid_until > now()) s
      JOIN api_key k ON k.id = s.id`;
  return row;
}

/** The condition that a key is within somebody's reach. */
function within(sql: Queryable, { accountId, belowKeyId }: Reach) {
  return belowKeyId === undefined
    ? sql`account_id = ${accountId}`
    : sql`account_id = ${accountId} AND (id = ${belowKeyId} OR ${belowKeyId} = ANY(ancestor_ids))`;
}

export function listKeys(sql: Queryable, input: Reach & { rowsMax: number }): Promise<ListedKeyRow[]> {
  return sql<ListedKeyRow[]>`
    SELECT id, parent_id, label, scopes, tools, cap_ids, created_at, expires_at, revoked_at FROM api_key
    WHERE ${within(sql, input)} ORDER BY created_at DESC, id LIMIT ${input.rowsMax}`;
}

/** The keys of one line, locked from the top down, which is the order of everyone who locks several. */
export function lockLine(tx: Tx, ids: readonly Uuid[]): Promise<LineKeyRow[]> {
  return tx<LineKeyRow[]>`
    SELECT id, publisher_id, scopes, tools, cap_ids, expires_at,
      revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS is_live
    FROM api_key WHERE id = ANY(${ids as Uuid[]}::uuid[]) ORDER BY cardinality(ancestor_ids) FOR UPDATE`;
}

export async function countLiveKeys(tx: Tx, accountId: Uuid): Promise<number> {
  const [row] = await tx<{ count: number }[]>`SELECT count(*)::int AS count FROM api_key
    WHERE account_id = ${accountId} AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`;
  return row?.count ?? 0;
}

/**
 * Revokes a key and all below it, and answers which; none when there is no such key within reach. A revocation's
 * first time stays. The key is locked before its descendants are looked for: a child that is being made is seen.
 */
export async function revokeKeys(tx: Tx, input: Reach & { keyId: Uuid }): Promise<Uuid[]> {
  const { keyId, accountId } = input;
  const [locked] = await tx`SELECT id FROM api_key WHERE id = ${keyId} AND ${within(tx, input)} FOR UPDATE`;
  if (!locked) return [];
  const rows = await tx<{ id: Uuid }[]>`
    UPDATE api_key SET revoked_at = coalesce(revoked_at, now())
    WHERE account_id = ${accountId} AND (id = ${keyId} OR ${keyId} = ANY(ancestor_ids))
    RETURNING id`;
  return rows.map(({ id }) => id);
}

export type Rotation = Reach & { keyId: Uuid; hash: Buffer; overlapSeconds: number };

/** Gives a key another secret. Every earlier one works until the overlap is over, and none longer than before. */
export async function rotateSecret(
  tx: Tx,
  input: Rotation,
): Promise<{ kind: 'rotated'; validUntil: Date } | { kind: 'dead' } | { kind: 'unknown' }> {
  const { keyId, hash, overlapSeconds } = input;
  const [key] = await tx<{ hash: Buffer; isLive: boolean }[]>`
    SELECT hash, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS is_live
    FROM api_key WHERE id = ${keyId} AND ${within(tx, input)} FOR UPDATE`;
  if (!key) return { kind: 'unknown' };
  if (!key.isLive) return { kind: 'dead' };
  const until = tx`now() + ${overlapSeconds} * interval '1 second'`;
  await tx`UPDATE api_key_former SET valid_until = ${until} WHERE key_id = ${keyId} AND valid_until > ${until}`;
  const [former] = await tx<{ validUntil: Date }[]>`
    INSERT INTO api_key_former (hash, key_id, valid_until) VALUES (${key.hash}, ${keyId}, ${until})
    RETURNING valid_until`;
  invariant(former, 'the replaced secret is kept');
  await tx`UPDATE api_key SET hash = ${hash} WHERE id = ${keyId}`;
  return { kind: 'rotated', validUntil: former.validUntil };
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
