import { invariant } from '../../../core/invariant.ts';
import type { Sql } from '../../../db/index.ts';
import type { CapRefusal } from '../../cap/cap.ts';
import {
  type ChargeItem,
  type ChargeVerdict,
  type CloseItem,
  type CloseVerdict,
  doubtRefusals,
  listAccepted,
  shardOf,
  tellCaptured,
  toCloseVerdict,
  toOrdered,
  toRide,
} from '../charger.ts';
import { withRetry } from '../retry.ts';
import type { ChargeMode, StatementParts } from '../store.ts';
import {
  type CappedAnswer,
  type CappedRow,
  cappedCloseStatement,
  cappedStatement,
  runCapped,
  runCappedClose,
} from './store.ts';

type Deps<Item> = { sql: Sql; parts: StatementParts<Item> };

/** Commits holds or charges of keys under caps, in batches of their own: other keys pay nothing for caps. */
export function flushCappedCharges<Item>(deps: Deps<Item>, mode: ChargeMode) {
  const statement = cappedStatement(mode, deps.parts);
  return async (items: readonly ChargeItem<Item>[]): Promise<ChargeVerdict[]> => {
    const rows = items.map(({ request }): CappedRow => ({ ...request, capIds: request.capIds ?? [] }));
    const calls = toRide(items, rows);
    const rider = mode === 'charge' ? deps.parts.rider.parameters(calls, shardOf(deps.parts, rows)) : [];
    let tries = 0;
    const answers = await withRetry((attempt) => {
      tries = attempt;
      return runCapped(deps.sql, statement, rows, rider);
    });
    const written = answers[0]?.rider;
    if (written) deps.parts.rider.written(written, listAccepted(items, answers));
    return doubtRefusals(judgeCapped(rows, answers), tries);
  };
}

/** Closes holds of keys under caps. */
export function flushCappedCloses<Item>(deps: Deps<Item>, state: 'captured' | 'released') {
  const statement = cappedCloseStatement(state, deps.parts);
  return async (items: readonly CloseItem<Item>[]): Promise<CloseVerdict[]> => {
    const rows = items.map(({ hold }) => ({ ...hold, capIds: hold.capIds ?? [] }));
    const calls = toRide(items, rows);
    const rider = state === 'captured' ? deps.parts.rider.parameters(calls, shardOf(deps.parts, rows)) : [];
    const byOrd = toOrdered(await withRetry(() => runCappedClose(deps.sql, statement, rows, rider)));
    tellCaptured(deps.parts, items, byOrd);
    return rows.map((_, index) => toCloseVerdict(byOrd[index + 1], state));
  };
}

/**
 * What the capped statement's answers mean. What it did not accept and does not refuse for good would have fit
 * alone: others of its batch were before it, and it asks again.
 */
function judgeCapped(rows: readonly CappedRow[], answers: readonly CappedAnswer[]): ChargeVerdict[] {
  const seen = new Set<string>();
  const byOrd = toOrdered(answers);
  return rows.map((row, index): ChargeVerdict => {
    const answer = byOrd[index + 1];
    if (!answer || seen.has(row.id)) return { kind: 'ask-again' };
    seen.add(row.id);
    if (answer.isAccepted)
      return answer.rest === null ? { kind: 'held' } : { kind: 'held', rest: answer.rest };
    // Our own retry after a lost connection finds its hold standing.
    if (answer.existing === 'held' || answer.existing === 'captured') return { kind: 'held' };
    if (answer.existing) return { kind: 'closed' };
    if (answer.isKeyRefused) return { kind: 'key-refused' };
    // A key whose cap is not there may not spend: that is safer than no cap.
    if (answer.refusedCap === 'missing') return { kind: 'key-refused' };
    if (answer.refusedCap) return toRefusal(answer, answer.refusedCap);
    const available = answer.available ?? 0n;
    if (row.amount > available) return { kind: 'insufficient', available };
    return { kind: 'ask-again' };
  });
}

function toRefusal(answer: CappedAnswer, cap: CapRefusal['cap']): ChargeVerdict {
  const { refusedBy, capLimit, capLeft, hourEndsAt } = answer;
  invariant(refusedBy !== null && capLimit !== null && capLeft !== null, `cap ${refusedBy} has no ${cap}`);
  const resetsAt = cap === 'per_hour' && hourEndsAt ? hourEndsAt : undefined;
  return {
    kind: 'cap-refused',
    refusal: { capId: refusedBy, cap, limit: capLimit, left: capLeft, resetsAt },
  };
}
