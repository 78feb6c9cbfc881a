import { setTimeout as sleep } from 'node:timers/promises';
import { type Hex, TransactionNotFoundError } from 'viem';
import { getTransaction, sendRawTransaction } from 'viem/actions';
import { invariant } from '../../../core/invariant.ts';
import { expectForm } from '../../form.ts';
import type { Settled, Settlement, SettlementIntent } from '../../rail.ts';
import type { TempoRailContext } from './context.ts';
import { readShown, type Shown } from './identity.ts';
import { readProspect } from './prospect.ts';
import { readStanding, type Standing } from './standing.ts';

type Sought = { shown: Shown; units: bigint };

const POLL_GROWTH = 1.5;
const POLL_MS_MAX = 2_000;
/** A transaction without a receipt for this long is broadcast again. */
const REBROADCAST_MS = 2_000;

/**
 * Brings the transaction that the intent carries to the chain, or only waits for the one that the payer has
 * sent, until there is an answer or time is up. The chain mines a transaction once, however often it is sent.
 */
export async function settleIntent(
  context: TempoRailContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const sought = readIntent(intent);
  const broadcast = createBroadcast(context, sought, signal);
  let trouble: unknown;
  for (let pauseMs = context.timeouts.pollMs; ; pauseMs = Math.min(pauseMs * POLL_GROWTH, POLL_MS_MAX)) {
    try {
      const standing = await readStanding(context, sought, signal);
      // A failure could be undone with its block; the look at what arrives late is for that.
      if (standing.kind === 'void') return { kind: 'refused', reason: FAILED };
      const settlement = toSettlement(sought.shown, standing);
      if (settlement.kind !== 'unknown') return settlement;
      const refusal = await broadcast();
      if (refusal !== undefined) return { kind: 'refused', reason: refusal };
    } catch (error) {
      // An error on the way decides nothing: money may have moved, and a later look will tell.
      trouble = error;
    }
    const isOver = await sleep(pauseMs, false, { signal }).catch(() => true);
    if (!isOver) continue;
    const cause = trouble ?? signal.reason;
    context.log.warn({ cause, claimKey: intent.claimKey }, 'a settlement is not decided');
    return { kind: 'unknown', cause };
  }
}

/** What became of an intent; moves nothing, and says `refused` only when it can never be mined any more. */
export async function lookUpIntent(
  context: TempoRailContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  try {
    const sought = readIntent(intent);
    return toSettlement(sought.shown, await readStanding(context, sought, signal));
  } catch (cause) {
    context.log.warn({ cause, claimKey: intent.claimKey }, 'a settlement could not be looked up');
    return { kind: 'unknown', cause };
  }
}

/** A payment that is mined, as a settlement. It costs us nothing: the payer pays the fee. */
export function toSettled(hash: Hex, paid: { units: bigint; isFinal: boolean }): Settled {
  return { kind: 'settled', reference: hash, units: paid.units, isFinal: paid.isFinal, costs: [] };
}

function readIntent(intent: SettlementIntent): Sought {
  const shown = readShown(expectForm(intent.form, 'tempo'));
  const isReadable = shown.form.shows === 'hash' || shown.transaction !== undefined;
  invariant(isReadable, 'an intent was stored whose transaction cannot be read');
  return { shown, units: intent.units };
}

const FAILED = 'The transaction was mined and did not pay.';
const EXPIRED = 'The transaction expired before it was mined.';
const DISPLACED = 'Another transaction of the payer used up the nonce.';

function toSettlement({ hash }: Shown, standing: Standing): Settlement {
  switch (standing.kind) {
    case 'paid':
      return toSettled(hash, standing);
    case 'void':
      return standing.isFinal
        ? { kind: 'refused', reason: FAILED }
        : { kind: 'unknown', cause: new Error('the transaction failed in a block that is not final yet') };
    case 'expired':
      return { kind: 'refused', reason: EXPIRED };
    case 'displaced':
      return { kind: 'refused', reason: DISPLACED };
    case 'open':
      return { kind: 'unknown', cause: new Error('the transaction is not mined and still can be') };
    default:
      return standing satisfies never;
  }
}

/**
 * What sends a payer's transaction now and then, once it is clear that it would pay; answers why it is not
 * sent at all. The broadcast's own errors say nothing certain, so they are only thrown to be logged.
 */
function createBroadcast(
  context: TempoRailContext,
  sought: Sought,
  signal: AbortSignal,
): () => Promise<string | undefined> {
  const { transaction } = sought.shown;
  let sentAt: number | undefined;
  return async () => {
    if (transaction === undefined) return undefined;
    if (sentAt !== undefined && performance.now() - sentAt < REBROADCAST_MS) return undefined;
    const refusal = sentAt === undefined ? await findRefusal(context, sought, signal) : undefined;
    if (refusal !== undefined) return refusal;
    sentAt = performance.now();
    const { serialized: serializedTransaction } = transaction;
    await sendRawTransaction(context.client.within(signal), { serializedTransaction });
    return undefined;
  };
}

/**
 * Why the payer's purse, key or token stands in the way, unless somebody has sent the transaction already:
 * a purse is empty too when this very payment has emptied it.
 */
async function findRefusal(
  context: TempoRailContext,
  sought: Sought,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { hash, transaction } = sought.shown;
  if (transaction === undefined) return undefined;
  const prospect = await readProspect(context, { transaction, units: sought.units }, signal);
  if (prospect.kind === 'clear' || prospect.kind === 'untimely') return undefined;
  if (await isKnown(context, hash, signal)) return undefined;
  const standing = await readStanding(context, sought, signal);
  return standing.kind === 'open' ? prospect.reason : undefined;
}

async function isKnown(context: TempoRailContext, hash: Hex, signal: AbortSignal): Promise<boolean> {
  try {
    await getTransaction(context.client.within(signal), { hash });
    return true;
  } catch (error) {
    if (error instanceof TransactionNotFoundError) return false;
    throw error;
  }
}
