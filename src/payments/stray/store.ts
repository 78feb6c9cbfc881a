import type { Queryable } from '../../db/index.ts';
import { claimIdOf } from '../claim.ts';

export async function findStrayCursor(sql: Queryable, source: string): Promise<bigint | undefined> {
  const [row] = await sql<{ cursor: bigint }[]>`
    SELECT cursor FROM payment_stray_cursor WHERE source = ${source}`;
  return row?.cursor;
}

/** Several gateways look at once: none takes another's cursor back. */
export async function saveStrayCursor(sql: Queryable, source: string, cursor: bigint): Promise<void> {
  await sql`INSERT INTO payment_stray_cursor AS c (source, cursor) VALUES (${source}, ${cursor})
    ON CONFLICT (source) DO UPDATE SET cursor = greatest(c.cursor, EXCLUDED.cursor), saved_at = now()`;
}

/** Which of these payments have a claim. */
export async function findClaimed(sql: Queryable, claimKeys: readonly string[]): Promise<Set<string>> {
  const byId = new Map(claimKeys.map((claimKey) => [claimIdOf(claimKey), claimKey]));
  const rows = await sql<{ claimKey: string }[]>`
    SELECT claim_key FROM payment_claim WHERE id = ANY(${[...byId.keys()]}::uuid[])`;
  return new Set(rows.map(({ claimKey }) => claimKey));
}
