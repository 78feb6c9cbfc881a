import { getAddress } from 'viem';
import { toTokenUnits } from '../../../core/money.ts';
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
  const within = (signal: AbortSignal, ms: number) => AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  // The checksum is a Keccak hash, so it is made once.
  const addresses = { currency: getAddress(deps.currency), recipient: getAddress(deps.recipient) };
  const { lookMs, settleMs } = deps.timeouts;
  const health = watchHealth(deps);
  return {
    health,
    name: 'tempo',
    forms: ['tempo'],
    identify: (given) => identityOf(readShown(expectForm(given, 'tempo'))),
    offer: async ({ quote }) => (health.current().isUp ? offer(context, addresses, quote) : []),
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

function offer(
  context: TempoRailContext,
  addresses: Pick<TempoOffer, 'currency' | 'recipient'>,
  quote: Quote,
): TempoOffer[] {
  const units = toTokenUnits(quote.amount);
  if (units === 0n || quote.amount < context.amountMin) return [];
  return [{ kind: 'tempo', network: context.network, ...addresses, units }];
}
