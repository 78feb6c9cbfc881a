import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable, Sql } from '../../db/index.ts';

export async function insertPending(
  sql: Queryable,
  row: { id: Uuid; sealed: Buffer; expiresAt: Date },
): Promise<void> {
  await sql`INSERT INTO payment_pending ${sql({ ...row, bucket: bucketOf(row.id) })}`;
}

export async function findPending(sql: Queryable, id: Uuid): Promise<Buffer | undefined> {
  const [row] = await sql<{ sealed: Buffer }[]>`
    SELECT sealed FROM payment_pending WHERE id = ${id} AND bucket = ${bucketOf(id)}`;
  return row?.sealed;
}

export async function deletePending(sql: Sql, rowsMax: number): Promise<number> {
  const rows = await sql`DELETE FROM payment_pending WHERE (id, bucket) IN (
    SELECT id, bucket FROM payment_pending WHERE expires_at < now() LIMIT ${rowsMax} FOR UPDATE SKIP LOCKED)
    RETURNING 1`;
  return rows.length;
}
