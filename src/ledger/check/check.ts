import type { Sql, Tx } from '../../db/index.ts';
import {
  type AccountSum,
  type Discrepancy,
  findWrongBalances,
  findWrongCaps,
  findWrongCaptures,
  findWrongHeld,
  findWrongUnits,
  inSnapshot,
  sumAccounts,
  sumPayers,
  sumUnits,
  type UnitSum,
} from './store.ts';

/** Whether the books balance, and where not. Amounts are decimal strings in each unit's smallest part. */
export type LedgerReport = {
  isBalanced: boolean;
  units: UnitSum[];
  accounts: AccountSum[];
  payers: { count: bigint; balance: bigint; held: bigint };
  discrepancies: Discrepancy[];
};

/** Proves every stored number from the entries, in one snapshot of the database. */
export async function checkLedger(sql: Sql): Promise<LedgerReport> {
  return inSnapshot(sql, async (tx) => {
    const units = await sumUnits(tx);
    const discrepancies = await findDiscrepancies(tx, units);
    return {
      isBalanced: discrepancies.length === 0,
      units,
      accounts: await sumAccounts(tx),
      payers: await sumPayers(tx),
      discrepancies,
    };
  });
}

/** Everything in this snapshot that the entries do not prove: reads the whole journal. */
export async function findDiscrepancies(tx: Tx, known?: readonly UnitSum[]): Promise<Discrepancy[]> {
  const units = known ?? (await sumUnits(tx));
  return [
    ...units.filter(({ debit, credit }) => debit !== credit).map(toUnbalanced),
    ...(await findWrongBalances(tx)),
    ...(await findWrongHeld(tx)),
    ...(await findWrongCaptures(tx)),
    ...(await findWrongCaps(tx)),
    ...(await findWrongUnits(tx)),
  ];
}

function toUnbalanced({ unit, debit, credit }: UnitSum): Discrepancy {
  return { rule: 'zero-sum', subject: unit, detail: `debits ${debit}, credits ${credit}` };
}
