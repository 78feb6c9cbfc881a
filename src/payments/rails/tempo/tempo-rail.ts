import { getAddress } from 'viem';
import { createMemo } from '../../../core/memo.ts';
import { toTokenUnits } from '../../../core/money.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import { expectForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Rail, TempoOffer } from '../../rail.ts';
import { readBalances } from './balances.ts';
import type { TempoRailContext, TempoRailDeps } from './context.ts';
import { type TempoHealthWatch, watchHealth } from './health.ts';
import { identityOf, readShown } from './identity.ts';
import { lookUpIntent, settleIntent } from './settle.ts';
import { isSignedByPayer } from './signed-message.ts';
import { toLowerHex } from './transaction.ts';
import { verifyPayment } from './verify.ts';

/** The rail, and how its node is: to be looked at in the background, for a rail that is down is not offered. */
export type TempoRail = Rail & { health: TempoHealthWatch };

const OFFERS_KEPT_MAX = 1_000;

/**
 * The rail on which a TIP-20 transfer on Tempo moves the money (MPP draft-tempo-charge-00): signed by the
 * payer and sent by us (pull), or sent by the payer and shown by its hash (push).
 */
export function createTempoRail(deps: TempoRailDeps): TempoRail {
  const context: TempoRailContext = {
    ...deps,
    network: `eip155:${deps.client.chainId}`,
    currency: toLowerHex(deps.currency),
    recipient: toLowerHex(deps.recipient),
  };
  const within = (signal: AbortSignal, ms: number) => timeLimit(signal, ms);
  const offers = createOffers(deps, context.network);
  const { lookMs, settleMs } = deps.timeouts;
  const health = watchHealth(deps);
  return {
    health,
    name: 'tempo',
    forms: ['tempo'],
    identify: (given) => identityOf(readShown(expectForm(given, 'tempo'))),
    offer: ({ quote }) => (health.current().isUp ? offers(quote) : []),
    verify(given, quote, signal) {
      const form = expectForm(given, 'tempo');
      return verifyPayment(context, { form, quote }, within(signal, lookMs));
    },
    settle: (intent, signal) => settleIntent(context, intent, within(signal, settleMs)),
    lookup: (intent, signal) => lookUpIntent(context, intent, within(signal, lookMs)),
    // What is signed and not sent is still the payer's; what was sent cannot be called back.
    cancel: async () => {},
    isSignedBy: (input, signal) => isSignedByPayer(context, input, within(signal, lookMs)),
    balances: (signal) => readBalances(context, within(signal, lookMs)),
  };
}

/** Makes an offer once for its terms: the checksums are Keccak hashes, and wires spell what they see again once. */
function createOffers(deps: TempoRailDeps, network: string): (quote: Quote) => TempoOffer[] {
  const made = createMemo<TempoOffer>(OFFERS_KEPT_MAX);
  const terms = {
    kind: 'tempo',
    network,
    currency: getAddress(deps.currency),
    recipient: getAddress(deps.recipient),
  } as const;
  return ({ amount }) => {
    const units = toTokenUnits(amount);
    if (units === 0n || amount < deps.amountMin) return [];
    return [made(`${units}`, () => ({ ...terms, units }))];
  };
}
