import type { Uuid } from '../../core/ids.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import type { ReleaseKey } from './release-key.ts';

export type KeyName = Pick<ReleaseKey, 'publisherId' | 'keyId'>;
export type KeyCounts = { all: number; standing: number };

/** Newest first. */
export function listKeys(sql: Queryable, publisherId: Uuid, rowsMax: number): Promise<ReleaseKey[]> {
  return sql<ReleaseKey[]>`
    SELECT publisher_id, key_id, format, public_key, expires_at, added_index, added_at, revoked_index, revoked_at
    FROM release_key WHERE publisher_id = ${publisherId} ORDER BY added_index DESC LIMIT ${rowsMax}`;
}

export async function findKey(
  sql: Queryable,
  { publisherId, keyId }: KeyName,
): Promise<ReleaseKey | undefined> {
  const [row] = await sql<ReleaseKey[]>`
    SELECT publisher_id, key_id, format, public_key, expires_at, added_index, added_at, revoked_index, revoked_at
    FROM release_key WHERE publisher_id = ${publisherId} AND key_id = ${keyId}`;
  return row;
}

/** The same, and nobody revokes one of them until this transaction ends. */
export function holdKeys(tx: Tx, publisherId: Uuid, rowsMax: number): Promise<ReleaseKey[]> {
  return tx<ReleaseKey[]>`
    SELECT publisher_id, key_id, format, public_key, expires_at, added_index, added_at, revoked_index, revoked_at
    FROM release_key WHERE publisher_id = ${publisherId} ORDER BY added_index DESC LIMIT ${rowsMax} FOR SHARE`;
}

/** The key, for this transaction alone. */
export async function lockKey(tx: Tx, { publisherId, keyId }: KeyName): Promise<ReleaseKey | undefined> {
  const [row] = await tx<ReleaseKey[]>`
    SELECT publisher_id, key_id, format, public_key, expires_at, added_index, added_at, revoked_index, revoked_at
    FROM release_key WHERE publisher_id = ${publisherId} AND key_id = ${keyId} FOR UPDATE`;
  return row;
}

/** How many keys a publisher ever had, and how many of them count at that moment. */
export async function countKeys(tx: Tx, publisherId: Uuid, at: Date): Promise<KeyCounts> {
  const [row] = await tx<KeyCounts[]>`
    SELECT count(*)::integer AS all, count(*) FILTER (
      WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ${at}))::integer AS standing
    FROM release_key WHERE publisher_id = ${publisherId}`;
  return row ?? { all: 0, standing: 0 };
}

export async function insertKey(tx: Tx, row: Omit<ReleaseKey, 'revokedIndex' | 'revokedAt'>): Promise<void> {
  await tx`
    INSERT INTO release_key (publisher_id, key_id, format, public_key, expires_at, added_index, added_at)
    VALUES (${row.publisherId}, ${row.keyId}, ${row.format}, ${row.publicKey}, ${row.expiresAt},
      ${row.addedIndex}, ${row.addedAt})`;
}

export async function markRevoked(
  tx: Tx,
  { publisherId, keyId }: KeyName,
  revocation: { index: bigint; at: Date },
): Promise<void> {
  await tx`
    UPDATE release_key SET revoked_index = ${revocation.index}, revoked_at = ${revocation.at}
    WHERE publisher_id = ${publisherId} AND key_id = ${keyId}`;
}
