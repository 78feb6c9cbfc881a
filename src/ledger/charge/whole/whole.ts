import { bucketOf } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Sql } from '../../../db/index.ts';
import { type ChargeItem, type ChargeVerdict, type FlushedCharges, shardOf } from '../charger.ts';
import { type ChargeMode, type ChargeRow, runCharge, type StatementParts } from '../store.ts';
import { wholeStatement } from './store.ts';

/** How many batches go the ordinary way after one that could not be done as a whole: the next may be like it. */
const SKIPPED = 8;

/**
 * Does batches as a whole; answers undefined, with nothing done, where this one has to go the ordinary way. It throws
 * where an id was taken at that very moment.
 */
export function createWholeForm<Item>({
  sql,
  parts,
  mode,
}: {
  sql: Sql;
  parts: StatementParts<Item>;
  mode: ChargeMode;
}): (
  items: readonly ChargeItem<Item>[],
  rows: readonly ChargeRow[],
) => Promise<FlushedCharges<Item> | undefined> {
  const statement = wholeStatement(mode, parts);
  let toSkip = 0;
  return async (items, rows) => {
    if (toSkip > 0) {
      toSkip -= 1;
      return undefined;
    }
    const calls = mode === 'charge' ? toRide(items) : [];
    const riders = mode === 'charge' ? parts.rider.wholeParameters(calls, shardOf(parts, rows)) : [];
    if (riders === undefined) return undefined;
    const { answers, rider } = await runCharge(sql, statement, rows, riders);
    if (answers) return { verdicts: acceptAll(answers, rows), accepted: calls, written: rider };
    toSkip = SKIPPED;
    return undefined;
  };
}

function toRide<Item>(items: readonly ChargeItem<Item>[]) {
  return items.map(({ request: { id, accountId, amount, fee }, receipt }) => {
    invariant(receipt !== undefined, 'what is charged has something to ride with');
    return { id, item: receipt, amount, fee, bucket: bucketOf(accountId) };
  });
}

/**
 * What each of them leaves of what its account had to spend before. `funds` is the answer of the whole statement: after
 * an equals sign what the accounts had, in the order of their ids.
 */
export function acceptAll(
  funds: string,
  rows: readonly Pick<ChargeRow, 'accountId' | 'amount'>[],
): ChargeVerdict[] {
  const rests = new Map<string, bigint>();
  for (const { accountId } of rows) rests.set(accountId, 0n);
  const had = funds.slice(1).split(',');
  invariant(rests.size === had.length, `${rests.size} accounts are charged, and not ${had.length}`);
  for (const [at, accountId] of [...rests.keys()].sort().entries()) {
    rests.set(accountId, BigInt(had[at] ?? 0));
  }
  return rows.map(({ accountId, amount }) => {
    const rest = (rests.get(accountId) ?? 0n) - amount;
    rests.set(accountId, rest);
    return { kind: 'held', rest };
  });
}
