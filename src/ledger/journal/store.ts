import { type Queryable, type Sql, type Tx, withTransaction } from '../../db/index.ts';

/** How many months after this one have a partition. */
const MONTHS_AHEAD = 3;
/** Charges wait behind a partition that waits to be attached; the next run tries again. */
const LOCK_TIMEOUT = '3s';
/** A row of that month is in the default partition already. */
const CHECK_VIOLATION = '23514';

type Month = { name: string; from: Date; to: Date };

/**
 * Sees to it that the entries of this month and of those after it have partitions of their own, and answers how
 * many were made. Safe to repeat, and for many gateways at once: the lock on the journal lets in one at a time
 * and keeps no entry waiting.
 */
export async function ensureEntryPartitions(sql: Sql, now: Date): Promise<number> {
  const months = Array.from({ length: MONTHS_AHEAD + 1 }, (_, ahead) => toMonth(now, ahead));
  if ((await listMissing(sql, months)).length === 0) return 0;
  try {
    return await withTransaction(sql, async (tx) => {
      await tx`SELECT set_config('lock_timeout', ${LOCK_TIMEOUT}, true)`;
      await tx`LOCK TABLE ledger_entry IN SHARE UPDATE EXCLUSIVE MODE`;
      return addMonths(tx, await listMissing(tx, months));
    });
  } catch (cause) {
    if (!isCheckViolation(cause)) throw cause;
    return withTransaction(sql, async (tx) => {
      await tx`SELECT set_config('lock_timeout', ${LOCK_TIMEOUT}, true)`;
      await tx`LOCK TABLE ledger_entry IN ACCESS EXCLUSIVE MODE`;
      return replaceDefault(tx, await listMissing(tx, months));
    });
  }
}

/** A month (UTC) and the name of its partition. */
function toMonth(now: Date, ahead: number): Month {
  const [year, month] = [now.getUTCFullYear(), now.getUTCMonth() + ahead];
  const from = new Date(Date.UTC(year, month, 1));
  const name = `ledger_entry_${from.toISOString().slice(0, 7).replace('-', '_')}`;
  return { name, from, to: new Date(Date.UTC(year, month + 1, 1)) };
}

async function listMissing(sql: Queryable, months: readonly Month[]): Promise<Month[]> {
  const rows = await sql<{ name: string }[]>`
    SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ledger_entry'::regclass`;
  const present = new Set(rows.map(({ name }) => name));
  return months.filter(({ name }) => !present.has(name));
}

/** A table is made first and attached then: that locks only the default partition, and only for the attaching. */
async function addMonths(tx: Tx, months: readonly Month[]): Promise<number> {
  for (const month of months) {
    await createLike(tx, month.name);
    await attach(tx, month);
  }
  return months.length;
}

/**
 * Entries that came before their month had a partition are in the default one. As nothing may delete them there,
 * that table is replaced as a whole: its rows are routed anew, to the months and to the new default one.
 */
async function replaceDefault(tx: Tx, months: readonly Month[]): Promise<number> {
  await tx`ALTER TABLE ledger_entry DETACH PARTITION ledger_entry_default`;
  await tx`ALTER TABLE ledger_entry_default RENAME TO ledger_entry_replaced`;
  await addMonths(tx, months);
  await createLike(tx, 'ledger_entry_default');
  await tx`ALTER TABLE ledger_entry ATTACH PARTITION ledger_entry_default DEFAULT`;
  await tx`INSERT INTO ledger_entry SELECT * FROM ledger_entry_replaced`;
  await tx`DROP TABLE ledger_entry_replaced`;
  return months.length;
}

/** A table of the journal's shape with the guard of its own that a partition needs. */
async function createLike(tx: Tx, name: string): Promise<void> {
  await tx`CREATE TABLE ${tx(name)} (LIKE ledger_entry INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`;
  await tx`CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ${tx(name)}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('this table is append-only')`;
}

async function attach(tx: Tx, { name, from, to }: Month): Promise<void> {
  // Bounds are no parameters in SQL; these are two dates of our own making.
  const bounds = `FROM ('${from.toISOString()}') TO ('${to.toISOString()}')`;
  await tx`ALTER TABLE ledger_entry ATTACH PARTITION ${tx(name)} FOR VALUES ${tx.unsafe(bounds)}`;
}

function isCheckViolation(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === CHECK_VIOLATION;
}
