import type { Sql } from '../../db/index.ts';

export type WorkerRow = { id: string; host: string; pid: number; startedAt: Date };

export async function insertWorker(sql: Sql, worker: Omit<WorkerRow, 'startedAt'>): Promise<void> {
  await sql`INSERT INTO payment_worker ${sql(worker)}`;
}

/** False when somebody has declared this worker gone. */
export async function beatWorker(sql: Sql, id: string): Promise<boolean> {
  const rows = await sql`UPDATE payment_worker SET heartbeat_at = now()
    WHERE id = ${id} AND stopped_at IS NULL RETURNING id`;
  return rows.length === 1;
}

export async function stopWorkers(sql: Sql, ids: readonly string[]): Promise<void> {
  await sql`UPDATE payment_worker SET stopped_at = now() WHERE id = ANY(${[...ids]}) AND stopped_at IS NULL`;
}

export async function listLiveWorkers(sql: Sql): Promise<WorkerRow[]> {
  return sql<WorkerRow[]>`SELECT id, host, pid, started_at FROM payment_worker WHERE stopped_at IS NULL`;
}

/** Declares workers gone that have been silent for `silenceMs`. */
export async function stopSilentWorkers(sql: Sql, silenceMs: number): Promise<number> {
  const result = await sql`UPDATE payment_worker SET stopped_at = now()
    WHERE stopped_at IS NULL AND heartbeat_at < now() - ${silenceMs} * interval '1 millisecond'`;
  return result.count;
}

export async function deleteOldWorkers(sql: Sql): Promise<void> {
  await sql`DELETE FROM payment_worker WHERE stopped_at < now() - interval '30 days'`;
}
