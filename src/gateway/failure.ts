import { isDatabaseLost } from '../core/database-lost.ts';
import { Problem, type ProblemType } from '../core/problem.ts';
import { withTransaction } from '../db/index.ts';
import { isTurnedAway, type Outcome } from '../execution/index.ts';
import type { Failure } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';
import type { Sale } from './sale.ts';

type Failed = Extract<Outcome, { kind: 'failed' }> | { kind: 'failed'; cause: unknown };

/** What a call that did not deliver tells its caller. */
export function toProblem(outcome: Failed): Failure {
  if ('cause' in outcome) {
    // A refusal of our own (a full queue, a missing sandbox) is told as it is; what is no fault of the call's, and
    // no bug of ours, says to come again; anything else is our bug.
    if (outcome.cause instanceof Problem)
      return { problem: outcome.cause.type, detail: outcome.cause.message };
    if (isDatabaseLost(outcome.cause))
      return { problem: 'unavailable', detail: 'The call could not run: the database does not answer.' };
    return { problem: 'internal-error', detail: 'The call could not run.' };
  }
  return { problem: problemOf(outcome.reason), detail: outcome.detail };
}

/** The refusal of a call that did not deliver and for which nothing was taken. It keeps its own time to come again. */
export function toUncharged(outcome: Failed): Problem {
  const { problem, detail } = toProblem(outcome);
  const cause = 'cause' in outcome ? outcome.cause : undefined;
  const retryAfterSeconds = cause instanceof Problem ? cause.options.retryAfterSeconds : undefined;
  const again = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  // What stands behind a refusal is a warning in the log; behind this one nothing stands.
  const behind = isTurnedAway(cause) ? {} : { cause };
  return new Problem(problem, { detail, ...behind, ...again, isUncharged: true });
}

function problemOf(reason: Extract<Failed, { reason: unknown }>['reason']): ProblemType {
  switch (reason) {
    case 'timeout':
      return 'tool-timeout';
    case 'cancelled':
      return 'unavailable';
    // Nothing went wrong with the tool: its caller has more to say, and asking for it is no failure to count.
    case 'input-required':
      return 'invalid-arguments';
    default:
      return 'tool-failed';
  }
}

/** Counts a failure that was the tool's own, and pauses a tool that fails too often. Never throws. */
export async function noteFailure(
  deps: GatewayDeps,
  sale: Sale,
  payer: string,
  failure: Failure,
): Promise<void> {
  if (sale.price === 0n) return;
  // Said of a run, this is that it asked for input: arguments are checked before.
  if (failure.problem === 'invalid-arguments') return deps.reliability.noteQuestion(payer, sale.toolId);
  if (failure.problem !== 'tool-failed' && failure.problem !== 'tool-timeout') return;
  try {
    const soldBefore = await deps.receipts.countSold(sale.toolId);
    const { shouldPause } = await deps.reliability.noteFailure(
      { toolId: sale.toolId, payer, reason: failure.problem, soldBefore },
      { repairedAt: sale.repairedAt },
    );
    if (!shouldPause) return;
    const reason = 'More than a fifth of its last 50 calls failed. A new version ends the pause.';
    await withTransaction(deps.sql, (tx) => deps.catalog.pause(tx, sale.toolId, reason));
    deps.catalog.forget(sale.toolId);
    deps.log.warn({ toolId: sale.toolId }, 'paused a tool that fails too often');
  } catch (cause) {
    // The call is answered already; a missed count only lets one more failure be free.
    deps.log.error({ cause, toolId: sale.toolId }, 'could not count a failure');
  }
}

/** Refuses a payer that had too many free failures of this tool. */
export function refuseIfBlocked(deps: Pick<GatewayDeps, 'reliability'>, sale: Sale, payer: string): void {
  const retryAfterSeconds = deps.reliability.blockedForSeconds(payer, sale.toolId);
  if (retryAfterSeconds === undefined) return;
  throw new Problem('too-many-requests', {
    detail: 'Too many calls of this tool delivered nothing to you within the hour. Check what you send.',
    retryAfterSeconds,
    isUncharged: true,
  });
}
