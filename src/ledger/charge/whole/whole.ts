import { bucketOf } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Sql } from '../../../db/index.ts';
import { type ChargeItem, shardOf } from '../charger.ts';
import { type Charged, type ChargeMode, runCharge, type StatementParts } from '../store.ts';
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
}): (items: readonly ChargeItem<Item>[]) => Promise<Charged | undefined> {
  const statement = wholeStatement(mode, parts);
  let toSkip = 0;
  return async (items) => {
    if (toSkip > 0) {
      toSkip -= 1;
      return undefined;
    }
    const rows = items.map(({ request }) => request);
    const riders = mode === 'charge' ? parts.rider.wholeParameters(toRide(items), shardOf(parts, rows)) : [];
    if (riders === undefined) return undefined;
    const charged = await runCharge(sql, statement, rows, riders);
    if (charged.answers.length > 0) return charged;
    toSkip = SKIPPED;
    return undefined;
  };
}

function toRide<Item>(items: readonly ChargeItem<Item>[]) {
  return items.map(({ request: { id, accountId, amount }, receipt }) => {
    invariant(receipt !== undefined, 'what is charged has something to ride with');
    return { id, item: receipt, amount, bucket: bucketOf(accountId) };
  });
}
