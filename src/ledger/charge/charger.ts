import { BUCKETS, bucketOf, type Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Millicents } from '../../core/money.ts';
import type { Sql } from '../../db/index.ts';
import type { CapRefusal } from '../cap/cap.ts';
import type { Accepted } from '../rider.ts';
import { createBatcher } from './batcher.ts';
import { flushCappedCharges, flushCappedCloses } from './capped/capped.ts';
import { withRetry } from './retry.ts';
import {
  batchStatement,
  type ChargeAnswer,
  type ChargeMode,
  type ChargeRow,
  type CloseAnswer,
  closeStatement,
  isIdTaken,
  runCharge,
  runClose,
  type StatementParts,
  singleStatement,
  unpackAnswers,
} from './store.ts';
import { createWholeForm } from './whole/whole.ts';

/** Money to set aside for one call. Amount and fee are decided by the caller; see `feeOf`. */
export type HoldRequest = {
  /** The call's id: asking again with the same id never takes a second time. */
  id: Uuid;
  accountId: Uuid;
  /** The key that spends, checked for revocation in the same statement. */
  keyId: Uuid | undefined;
  /** The caps it counts against, when there are any: those of the key and of the keys above it. */
  capIds?: readonly Uuid[] | undefined;
  payeeId: Uuid;
  subject: Uuid | undefined;
  label: string;
  amount: Millicents;
  fee: Millicents;
  lifetimeMs: number;
};

export type HoldResult =
  /**
   * `rest` is what the account, under the caps, can still spend; unknown when our own retry found the hold
   * standing.
   */
  | { kind: 'held'; rest?: bigint }
  | { kind: 'insufficient'; available: bigint }
  | { kind: 'cap-refused'; refusal: CapRefusal }
  | { kind: 'key-refused' }
  /** A hold with this id exists and is closed already. */
  | { kind: 'closed' };

export type CloseResult = { kind: 'closed' } | { kind: 'not-open' };

/** Which hold to close; `capIds` are those it was taken under. */
export type HoldToClose = Pick<HoldRequest, 'id' | 'accountId' | 'capIds'>;

export type Charger<Item> = {
  /** Sets money aside before a call runs. */
  hold(request: HoldRequest): Promise<HoldResult>;
  /** Takes the money of a call that has already run, in one statement. `held` means taken. */
  charge(request: HoldRequest, receipt: Item): Promise<HoldResult>;
  capture(hold: HoldToClose, receipt: Item): Promise<CloseResult>;
  release(hold: HoldToClose): Promise<CloseResult>;
  drain(): Promise<void>;
};

/**
 * Run-time settings for the connections that charge. The statement is large and always the same: planning it
 * anew costs more than running it. And its CTEs look to the planner like one row each, which makes it join a
 * batch with itself in a loop. A plan made while a table was young would read all of it, for every batch, ever
 * after. Every table in it is found by an array of keys, so no plan needs a loop or a whole table.
 */
export const CHARGE_SETTINGS = {
  plan_cache_mode: 'force_generic_plan',
  enable_nestloop: 'off',
  enable_seqscan: 'off',
  jit: 'off',
};

const CLOSE_ROUNDS_MAX = 5;
const BATCH_MAX = 1_000;
const QUEUE_MAX = 20_000;

/** The hot path of the ledger: holds, charges and captures in exactly-once batches. */
export function createCharger<Item>(deps: { sql: Sql; parts: StatementParts<Item> }): Charger<Item> {
  const createLanes = () => ({
    free: createLane<Item>({
      charges: (mode) => flushCharges<Item>(deps, mode),
      closes: (state) => flushCloses<Item>(deps, state),
    }),
    capped: createLane<Item>({
      charges: (mode) => flushCappedCharges<Item>(deps, mode),
      closes: (state) => flushCappedCloses<Item>(deps, state),
    }),
  });
  /** One set where nothing is cut, else one for each bucket. */
  const shards = Array.from({ length: deps.parts.isCut ? BUCKETS : 1 }, createLanes);
  const laneOf = ({ accountId, capIds }: Pick<HoldRequest, 'accountId' | 'capIds'>) => {
    const lanes = shards[deps.parts.isCut ? bucketOf(accountId) : 0];
    invariant(lanes, 'every bucket has lanes');
    return capIds === undefined || capIds.length === 0 ? lanes.free : lanes.capped;
  };
  return {
    hold: (request) => laneOf(request).holds.push({ request }),
    charge: (request, receipt) => laneOf(request).charges.push({ request, receipt }),
    capture: (hold, receipt) => closeUntilClear<Item>(laneOf(hold).captures.push, { hold, receipt }),
    release: (hold) => closeUntilClear<Item>(laneOf(hold).releases.push, { hold }),
    async drain() {
      await Promise.all(
        shards.flatMap(({ free, capped }) =>
          [free, capped].flatMap((lane) => Object.values(lane).map((batcher) => batcher.drain())),
        ),
      );
    },
  };
}

/** The batchers of one kind of keys: a batch is one statement, and those with caps need another one. */
function createLane<Item>(flush: {
  charges(mode: ChargeMode): (items: readonly ChargeItem<Item>[]) => Promise<ChargeVerdict[]>;
  closes(state: 'captured' | 'released'): (items: readonly CloseItem<Item>[]) => Promise<CloseVerdict[]>;
}) {
  const limits = { batchMax: BATCH_MAX, queueMax: QUEUE_MAX };
  return {
    holds: createBatcher({ ...limits, isFinal: isVerdict, flush: flush.charges('hold') }),
    charges: createBatcher({ ...limits, isFinal: isVerdict, flush: flush.charges('charge') }),
    captures: createBatcher({ ...limits, flush: flush.closes('captured') }),
    releases: createBatcher({ ...limits, flush: flush.closes('released') }),
  };
}

export type ChargeItem<Item> = { request: HoldRequest; receipt?: Item };
export type ChargeVerdict = HoldResult | { kind: 'ask-again' };

/**
 * A large request that does not fit also pushes out smaller ones behind it in its batch; those ask again.
 * The first of an account's refused requests is refused for good, so every round ends at least one of them.
 */
function isVerdict(verdict: ChargeVerdict): verdict is HoldResult {
  return verdict.kind !== 'ask-again';
}

function flushCharges<Item>(deps: { sql: Sql; parts: StatementParts<Item> }, mode: ChargeMode) {
  const { sql, parts } = deps;
  const single = singleStatement(mode, parts);
  const batch = batchStatement(mode, parts, 'fail');
  const careful = batchStatement(mode, parts, 'skip');
  const chargeWhole = createWholeForm({ sql, parts, mode });
  return async (items: readonly ChargeItem<Item>[]): Promise<ChargeVerdict[]> => {
    const rows = items.map(({ request }) => request);
    // A copy that does not fit is not inserted, and so would stop nothing.
    const hasCopies = new Set(rows.map(({ id }) => id)).size < rows.length;
    const send = async (statement: string): Promise<FlushedCharges<Item>> => {
      const isRidden = mode === 'charge';
      const riders = isRidden ? parts.rider.parameters(toRide(items, rows), shardOf(parts, rows)) : [];
      const { answers: packed, rider } = await runCharge(sql, statement, rows, riders);
      const answers = unpackAnswers(packed);
      const accepted = listAccepted(items, answers);
      return { verdicts: judge(rows, answers, hasCopies), accepted, written: rider };
    };
    const sendHopeful = async () =>
      rows.length === 1 ? send(single) : ((await chargeWhole(items, rows)) ?? send(batch));
    let tries = 0;
    const { verdicts, accepted, written } = await withRetry((attempt) => {
      tries = attempt;
      if (hasCopies) return send(careful);
      return sendHopeful().catch((cause: unknown) => {
        if (!isIdTaken(cause)) throw cause;
        return send(careful);
      });
    });
    if (written) parts.rider.written(written, accepted);
    return doubtRefusals(verdicts, tries);
  };
}

/** What became of a batch of charges. */
export type FlushedCharges<Item> = {
  verdicts: ChargeVerdict[];
  /** Those that the rider rode on, in their order. */
  accepted: readonly Accepted<Item>[];
  /** What it says it wrote; null where it did not ride. */
  written: string | null;
};

/** What the rider is to write; `rows` are the requests of the same items. */
export function toRide<Item>(
  items: readonly { receipt?: Item }[],
  rows: readonly { id: Uuid }[],
): { id: Uuid; item: Item }[] {
  const calls: { id: Uuid; item: Item }[] = [];
  rows.forEach(({ id }, index) => {
    const item = items[index]?.receipt;
    if (item !== undefined) calls.push({ id, item });
  });
  return calls;
}

/**
 * A try whose connection was lost may have been committed while the next one waited for its locks: that one finds the
 * money gone or the key revoked, and does not see the hold. So what is refused then is asked for again.
 */
export function doubtRefusals(verdicts: ChargeVerdict[], tries: number): ChargeVerdict[] {
  if (tries === 1) return verdicts;
  return verdicts.map((verdict) => (REFUSED.has(verdict.kind) ? { kind: 'ask-again' } : verdict));
}

const REFUSED: ReadonlySet<ChargeVerdict['kind']> = new Set(['insufficient', 'cap-refused', 'key-refused']);

/** Which of the charges the rider rode on. */
export function listAccepted<Item>(
  items: readonly ChargeItem<Item>[],
  answers: readonly (ChargeAnswer | undefined)[],
): Accepted<Item>[] {
  const isAccepted: boolean[] = [];
  for (const answer of answers) if (answer?.isAccepted) isAccepted[answer.ord - 1] = true;
  const accepted: Accepted<Item>[] = [];
  items.forEach(({ request, receipt }, index) => {
    if (receipt === undefined || !isAccepted[index]) return;
    accepted.push({ item: receipt, id: request.id, amount: request.amount, fee: request.fee });
  });
  return accepted;
}

/** Tells the rider which of the captures it rode on. */
export function tellCaptured<Item>(
  parts: StatementParts<Item>,
  items: readonly CloseItem<Item>[],
  answers: readonly (CloseAnswer | undefined)[],
): void {
  const written = answers[1]?.rider;
  if (!written) return;
  parts.rider.written(
    written,
    items.flatMap(({ hold, receipt }, index) => {
      const { amount, fee } = answers[index + 1] ?? {};
      const isKnown = receipt !== undefined && typeof amount === 'bigint' && typeof fee === 'bigint';
      return isKnown ? [{ item: receipt, id: hold.id, amount, fee }] : [];
    }),
  );
}

/** The one bucket of a statement's rows, where charges are cut. */
export function shardOf<Item>(
  parts: StatementParts<Item>,
  rows: readonly { accountId: Uuid }[],
): number | undefined {
  return parts.isCut && rows[0] ? bucketOf(rows[0].accountId) : undefined;
}

/** Turns the statement's rows into verdicts; pure. What the form for whole batches answers is for `acceptAll`. */
export function judge(
  rows: readonly ChargeRow[],
  answers: readonly ChargeAnswer[],
  hasCopies = true,
): ChargeVerdict[] {
  const refused = new Map<string, { amount: bigint; available: bigint }>();
  const seen = hasCopies ? new Set<string>() : undefined;
  /** Accounts of which a request that somebody else took the id of counted as taken for those behind it. */
  const miscounted = new Set<string>();
  const byOrd = toOrdered(answers);
  return rows.map((row, index): ChargeVerdict => {
    const answer = byOrd[index + 1];
    if (!answer || seen?.has(row.id)) return { kind: 'ask-again' };
    seen?.add(row.id);
    const isMiscounted = miscounted.has(row.accountId);
    if (answer.isAccepted)
      return answer.rest === null || isMiscounted ? { kind: 'held' } : { kind: 'held', rest: answer.rest };
    // Our own retry after a lost connection finds its hold standing.
    if (answer.existing === 'held' || answer.existing === 'captured') return { kind: 'held' };
    if (answer.existing) return { kind: 'closed' };
    if (answer.isKeyRefused) return { kind: 'key-refused' };
    if (answer.rest === null) return { kind: 'insufficient', available: 0n };
    if (answer.rest >= 0n) miscounted.add(row.accountId);
    if (answer.rest >= 0n || isMiscounted) return { kind: 'ask-again' };
    // What is left of the first that is refused is what there is: behind it, what was refused counts as taken.
    const first = refused.get(row.accountId);
    if (first && row.amount < first.amount) return { kind: 'ask-again' };
    const available = first?.available ?? (answer.rest + row.amount > 0n ? answer.rest + row.amount : 0n);
    if (!first) refused.set(row.accountId, { amount: row.amount, available });
    return { kind: 'insufficient', available };
  });
}

/**
 * Answers by the number of the request they name, never by their place: after a connection broke in the middle
 * of a result, the driver has been seen to hand over a list with a hole in it.
 */
export function toOrdered<Answer extends { ord: number }>(
  answers: readonly (Answer | undefined)[],
): (Answer | undefined)[] {
  const byOrd: (Answer | undefined)[] = [];
  for (const answer of answers) if (answer) byOrd[answer.ord] = answer;
  return byOrd;
}

export type CloseItem<Item> = { hold: HoldToClose; receipt?: Item };
export type CloseVerdict = CloseResult | { kind: 'ask-again' };

/** A hold that still looked open was being closed at that very moment, perhaps by our own lost try: ask again. */
async function closeUntilClear<Item>(
  push: (item: CloseItem<Item>) => Promise<CloseVerdict>,
  item: CloseItem<Item>,
): Promise<CloseResult> {
  for (let round = 0; round < CLOSE_ROUNDS_MAX; round++) {
    const result = await push(item);
    if (result.kind !== 'ask-again') return result;
  }
  return { kind: 'not-open' };
}

function flushCloses<Item>(deps: { sql: Sql; parts: StatementParts<Item> }, state: 'captured' | 'released') {
  const statement = closeStatement(state, deps.parts);
  return async (items: readonly CloseItem<Item>[]): Promise<CloseVerdict[]> => {
    const rows = items.map(({ hold }) => hold);
    const calls = toRide(items, rows);
    const rider = state === 'captured' ? deps.parts.rider.parameters(calls, shardOf(deps.parts, rows)) : [];
    const answers = await withRetry(() => runClose(deps.sql, statement, rows, rider));
    const byOrd = toOrdered(answers);
    tellCaptured(deps.parts, items, byOrd);
    return rows.map((_, index) => toCloseVerdict(byOrd[index + 1], state));
  };
}

/** What a close statement's answer means; without one it was lost, and is asked for again. */
export function toCloseVerdict(
  answer: CloseAnswer | undefined,
  state: 'captured' | 'released',
): CloseVerdict {
  if (!answer || (!answer.isClosed && answer.previous === 'held')) return { kind: 'ask-again' };
  // A hold that is already in the wanted state was closed by our own try whose answer got lost.
  return answer.isClosed || answer.previous === state ? { kind: 'closed' } : { kind: 'not-open' };
}
