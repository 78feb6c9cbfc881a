import type { Sql } from './client.ts';

/** Whether the database answers now. */
export async function isAnswering(sql: Sql): Promise<boolean> {
  try {
    await sql`SELECT 1`;
    return true;
  } catch {
    // Why it does not is in the log of whoever needed it; readiness only asks whether it does.
    return false;
  }
}
