import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable, Sql, Tx } from '../../db/index.ts';

export async function insertAnswer(
  tx: Tx,
  answer: { id: Uuid; payer: string; sealed: Buffer; lifetimeMs: number | null },
): Promise<void> {
  const { id, payer, sealed, lifetimeMs } = answer;
  await tx`INSERT INTO payment_answer (id, bucket, payer, sealed, bytes, expires_at)
    VALUES (${id}, ${bucketOf(id)}, ${payer}, ${sealed}, ${sealed.length},
      now() + ${lifetimeMs}::int8 * interval '1 millisecond') ON CONFLICT DO NOTHING`;
}

/** The day an answer stays readable starts when its money is in. */
export async function startAnswerClock(tx: Tx, id: Uuid, lifetimeMs: number): Promise<void> {
  await tx`UPDATE payment_answer SET expires_at = now() + ${lifetimeMs}::int8 * interval '1 millisecond'
    WHERE id = ${id}`;
}

/** By the clock of the database: that of a gateway may be wrong by a day. */
export async function findAnswer(sql: Queryable, id: Uuid): Promise<Buffer | undefined> {
  const [row] = await sql<{ sealed: Buffer }[]>`SELECT sealed FROM payment_answer
    WHERE id = ${id} AND (expires_at IS NULL OR expires_at > now())`;
  return row?.sealed;
}

export async function deleteAnswer(tx: Queryable, id: Uuid): Promise<void> {
  await tx`DELETE FROM payment_answer WHERE id = ${id}`;
}

export async function sumAnswerBytes(sql: Queryable, payer: string): Promise<bigint> {
  const [row] = await sql<{ bytes: bigint }[]>`SELECT coalesce(sum(bytes), 0)::bigint AS bytes
    FROM payment_answer WHERE payer = ${payer}`;
  return row?.bytes ?? 0n;
}

export async function deleteExpiredAnswers(sql: Sql, rowsMax: number): Promise<number> {
  const result = await sql`DELETE FROM payment_answer WHERE (id, bucket) IN
    (SELECT id, bucket FROM payment_answer WHERE expires_at < now() LIMIT ${rowsMax} FOR UPDATE SKIP LOCKED)`;
  return result.count;
}
