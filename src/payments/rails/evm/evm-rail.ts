import { getAddress, type Hex } from 'viem';
import { isSignedByAccount } from '../../../chain/index.ts';
import { toTokenUnits } from '../../../core/money.ts';
import { expectForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Offer, Rail } from '../../rail.ts';
import { readBalances } from './balances.ts';
import { type EvmRailContext, type EvmRailDeps, SETTLE_MARGIN_MS } from './context.ts';
import { claimKeyOf, payerOf } from './identity.ts';
import { lookUpIntent, settleIntent } from './settle.ts';
import { verifyAuthorization } from './verify.ts';

const OFFER_SECONDS_MIN = 120;
/** For the way to us, and for a client whose clock is behind. */
const OFFER_SLACK_SECONDS = 60;

/** The rail on which a signed EIP-3009 authorization of one token on one EVM chain moves the money. */
export function createEvmRail(deps: EvmRailDeps): Rail {
  const context: EvmRailContext = {
    ...deps,
    network: `eip155:${deps.client.chainId}`,
    asset: toLowerHex(deps.token.address),
    payTo: toLowerHex(deps.payTo),
  };
  const within = (signal: AbortSignal, ms: number) => AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  const addresses = { asset: getAddress(context.asset), payTo: getAddress(context.payTo) };
  const { lookMs, settleMs } = deps.timeouts;
  return {
    name: 'evm',
    forms: ['eip3009'],
    identify(given) {
      const form = expectForm(given, 'eip3009');
      return { claimKey: claimKeyOf(form), payer: payerOf(form) };
    },
    offer: async ({ quote }) => offer(context, addresses, quote),
    verify(given, quote, signal) {
      const form = expectForm(given, 'eip3009');
      return verifyAuthorization(context, { form, quote }, within(signal, lookMs));
    },
    settle: (intent, signal) => settleIntent(context, intent, within(signal, settleMs)),
    lookup: (intent, signal) => lookUpIntent(context, intent, within(signal, lookMs)),
    // The payer still has the money: what is not settled needs no giving back.
    cancel: async () => {},
    balances: (signal) => readBalances(context, within(signal, lookMs)),
    isSignedBy: (input, signal) => isSignedByAccount(context.client, input, within(signal, lookMs)),
  };
}

/** Checksummed, as challenges spell them; the checksum is a Keccak hash, so it is made once. */
type Addresses = { asset: Hex; payTo: Hex };

function offer(context: EvmRailContext, addresses: Addresses, quote: Quote): Offer[] {
  const units = toTokenUnits(quote.amount);
  if (units === 0n || quote.amount < context.amountMin) return [];
  const runSeconds = Math.ceil((quote.runTimeoutMs + SETTLE_MARGIN_MS) / 1000);
  return [
    {
      kind: 'eip3009',
      network: context.network,
      asset: addresses.asset,
      payTo: addresses.payTo,
      units,
      tokenName: context.token.name,
      tokenVersion: context.token.version,
      timeoutSeconds: Math.max(OFFER_SECONDS_MIN, runSeconds + OFFER_SLACK_SECONDS),
    },
  ];
}

/** Addresses are compared as text, so one case only. */
function toLowerHex(address: Hex): Hex {
  return address.toLowerCase() as Hex;
}
