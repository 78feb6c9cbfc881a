import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable, Sql, Tx } from '../../db/index.ts';

export type AnswerRow = { sealed: Buffer; expiresAt: Date | null };

export async function insertAnswer(
  tx: Tx,
  answer: { id: Uuid; payer: string; sealed: Buffer; expiresAt: Date | null },
): Promise<void> {
  const row = { ...answer, bucket: bucketOf(answer.id), bytes: answer.sealed.length };
  await tx`INSERT INTO payment_answer ${tx(row)} ON CONFLICT DO NOTHING`;
}

/** The day an answer stays readable starts when its money is in. */
export async function startAnswerClock(tx: Tx, id: Uuid, expiresAt: Date): Promise<void> {
  await tx`UPDATE payment_answer SET expires_at = ${expiresAt} WHERE id = ${id}`;
}

export async function findAnswer(sql: Queryable, id: Uuid): Promise<AnswerRow | undefined> {
  const [row] = await sql<AnswerRow[]>`SELECT sealed, expires_at FROM payment_answer WHERE id = ${id}`;
  return row;
}

export async function deleteAnswer(tx: Queryable, id: Uuid): Promise<void> {
  await tx`DELETE FROM payment_answer WHERE id = ${id}`;
}

export async function sumAnswerBytes(sql: Queryable, payer: string): Promise<bigint> {
  const [row] = await sql<{ bytes: bigint }[]>`SELECT coalesce(sum(bytes), 0)::bigint AS bytes
    FROM payment_answer WHERE payer = ${payer}`;
  return row?.bytes ?? 0n;
}

export async function deleteExpiredAnswers(sql: Sql, now: Date, rowsMax: number): Promise<number> {
  const result = await sql`DELETE FROM payment_answer WHERE (id, bucket) IN
    (SELECT id, bucket FROM payment_answer WHERE expires_at < ${now} LIMIT ${rowsMax} FOR UPDATE SKIP LOCKED)`;
  return result.count;
}
