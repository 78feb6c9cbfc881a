import { bucketOf, newUuid, type Uuid } from '../core/ids.ts';
import type { Sql } from '../db/index.ts';

export type NewFailure = { toolId: Uuid; payer: string; reason: string; soldBefore: bigint };

export async function insertFailure(sql: Sql, failure: NewFailure): Promise<void> {
  const id = newUuid();
  await sql`INSERT INTO tool_failure ${sql({ ...failure, id, bucket: bucketOf(id) })}`;
}

export async function countFailuresOfPayer(sql: Sql, payer: string, toolId: Uuid): Promise<bigint> {
  const [row] = await sql<{ count: bigint }[]>`SELECT count(*) AS count FROM tool_failure
    WHERE payer = ${payer} AND tool_id = ${toolId} AND created_at > now() - interval '1 hour'`;
  return row?.count ?? 0n;
}

export type FailureRow = { payer: string; soldBefore: bigint };

/** The newest failures of a tool since it was last repaired, newest first. */
export async function listNewestFailures(
  sql: Sql,
  input: { toolId: Uuid; since: Date; rowsMax: number },
): Promise<FailureRow[]> {
  return sql<FailureRow[]>`SELECT payer, sold_before FROM tool_failure
    WHERE tool_id = ${input.toolId} AND created_at > ${input.since}
    ORDER BY created_at DESC LIMIT ${input.rowsMax}`;
}

export async function deleteOldFailures(sql: Sql, rowsMax: number): Promise<number> {
  const result = await sql`DELETE FROM tool_failure WHERE (id, bucket) IN (SELECT id, bucket FROM tool_failure
    WHERE created_at < now() - interval '30 days' LIMIT ${rowsMax})`;
  return result.count;
}
