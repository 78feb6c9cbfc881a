import type { Uuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import type { Sql, Tx } from '../../db/index.ts';
import {
  addUses,
  type CounterUse,
  deleteTakes,
  insertTakes,
  lockCounters,
  lockCountersOf,
  readCounters,
  reclaimTakes,
} from './store.ts';

/** So many free calls of one kind, ever or on each day (UTC). */
export type FreeCounter = { name: string; period: 'ever' | 'day'; max: number };

export type FreeCallToTake = {
  /** Names the take, to keep it or to give it back. */
  id: Uuid;
  /** The account, so that no number of keys makes more of it. */
  accountId: Uuid;
  /** It counts in the first of these that has room. */
  choices: readonly FreeCounter[];
  /** And in this one besides. */
  quota: FreeCounter | undefined;
  /** What is neither kept nor given back by then was not delivered, and is given back. */
  leaseMs: number;
};

/** A free call that counts already and is not delivered yet. */
export type FreeCall = {
  id: Uuid;
  accountId: Uuid;
  /** How many it counts in. */
  counters: number;
  /** Free calls after this one. */
  left: number;
};

/**
 * Takes one free call, or none when there is none left. The locks on the counters let racers in one by one, so
 * that of N never more than N are taken, on however many gateways.
 */
export async function takeFreeCall(tx: Tx, input: FreeCallToTake): Promise<FreeCall | undefined> {
  const { id, accountId, choices, quota, leaseMs } = input;
  const wanted = quota ? [...choices, quota] : choices;
  const locked = await lockCounters(tx, { accountId, counters: wanted });
  const freed = await reclaimTakes(tx, { accountId, counters: locked });
  const uses = locked.map((use) => ({ ...use, used: use.used - countIn(freed, use) }));
  const roomOf = ({ name, period, max }: FreeCounter) =>
    Math.max(0, max - (uses.find((use) => use.name === name && use.kind === period)?.used ?? 0));
  const choice = choices.find((counter) => roomOf(counter) > 0);
  const isOver = (choices.length > 0 && !choice) || (quota && roomOf(quota) === 0);
  const taken = isOver ? [] : [choice, quota].filter((counter) => counter !== undefined);
  const isTaken = (use: CounterUse) =>
    taken.some(({ name, period }) => use.name === name && use.kind === period);
  const changes = uses.map((use) => ({ ...use, by: (isTaken(use) ? 1 : 0) - countIn(freed, use) }));
  await addUses(tx, { accountId, changes: changes.filter(({ by }) => by !== 0) });
  if (isOver) return undefined;
  await insertTakes(tx, { id, accountId, counters: uses.filter(isTaken), leaseMs });
  const chosen = choices.reduce((sum, counter) => sum + roomOf(counter), 0);
  const rooms = [...(choices.length > 0 ? [chosen] : []), ...(quota ? [roomOf(quota)] : [])];
  return { id, accountId, counters: taken.length, left: Math.min(...rooms) - 1 };
}

/** Whether there may be a free call left, without a lock: mostly there is none, and one look tells. */
export async function mayHaveFreeCall(
  sql: Sql,
  input: Pick<FreeCallToTake, 'accountId' | 'choices' | 'quota'>,
): Promise<boolean> {
  const { accountId, choices, quota } = input;
  const uses = await readCounters(sql, { accountId, counters: quota ? [...choices, quota] : choices });
  const hasRoom = ({ name, period, max }: FreeCounter) =>
    (uses.find((use) => use.name === name && use.kind === period)?.used ?? 0) < max;
  return (choices.length === 0 || choices.some(hasRoom)) && (!quota || hasRoom(quota));
}

/** The call was delivered: it counts for good. Throws when it took longer than its lease and is another's. */
export async function keepFreeCall(tx: Tx, call: FreeCall): Promise<void> {
  const kept = await deleteTakes(tx, { id: call.id, isInTime: true });
  if (kept.length === call.counters) return;
  throw new Problem('unavailable', {
    detail: 'The call took longer than its free call was kept for it.',
    isUncharged: true,
  });
}

/** The call was not delivered: as if it had not been taken. Safe to repeat. */
export async function giveBackFreeCall(tx: Tx, call: Pick<FreeCall, 'id' | 'accountId'>): Promise<void> {
  // The counters first, as everyone who takes from them does.
  await lockCountersOf(tx, call.id);
  const takes = await deleteTakes(tx, { id: call.id, isInTime: false });
  await addUses(tx, { accountId: call.accountId, changes: takes.map((take) => ({ ...take, by: -1 })) });
}

function countIn(freed: readonly { name: string; period: string; count: number }[], use: CounterUse): number {
  return freed.find(({ name, period }) => name === use.name && period === use.period)?.count ?? 0;
}
