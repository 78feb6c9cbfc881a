import { getAddress, type Hex } from 'viem';
import { isSignedByAccount } from '../../../chain/index.ts';
import { createMemo } from '../../../core/memo.ts';
import { toTokenUnits } from '../../../core/money.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { Eip3009Form } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Eip3009Offer, RailBalance, Settlement, SettlementIntent, Verification } from '../../rail.ts';
import { readBalances } from './balances.ts';
import { type EvmPartContext, type EvmPartDeps, SETTLE_MARGIN_MS } from './context.ts';
import { createSignatureCheck } from './key-signature.ts';
import { type PartHealth, watchHealth } from './part-health.ts';
import { createPayerReader } from './payer-reader.ts';
import { lookUpIntent, settleIntent } from './settle.ts';
import { findStrayPayments, type StrayInput, type StrayPage } from './strays.ts';
import { verifyAuthorization } from './verify.ts';

/** One token on one network; the rail asks the one that a form names. */
export type EvmPart = {
  /** CAIP-2. */
  readonly network: string;
  /** Lower case. */
  readonly asset: Hex;
  readonly wallet: Hex | undefined;
  /** Makes the offer without asking the chain; undefined when it cannot take this payment now. */
  offer(quote: Quote): Eip3009Offer | undefined;
  verify(input: { form: Eip3009Form; quote: Quote }, signal: AbortSignal): Promise<Verification>;
  settle(intent: SettlementIntent, signal: AbortSignal): Promise<Settlement>;
  lookup(intent: SettlementIntent, signal: AbortSignal): Promise<Settlement>;
  balances(input: { withGas: boolean }, signal: AbortSignal): Promise<RailBalance[]>;
  /** Whether an account of this network signed a message. */
  isSignedBy(input: SignedMessage, signal: AbortSignal): Promise<boolean | undefined>;
  /** One page of the payments to us that no claim names. */
  findStrayPayments(input: StrayInput, signal: AbortSignal): Promise<StrayPage>;
  /** As it was seen last. */
  health(): PartHealth;
  /** Looks anew; to be called in the background. */
  checkHealth(signal: AbortSignal): Promise<PartHealth>;
};

type SignedMessage = { payer: string; message: string; signature: Hex };

const OFFER_SECONDS_MIN = 120;
/** For the way to us, and for a client whose clock is behind. */
const OFFER_SLACK_SECONDS = 60;
const OFFERS_KEPT_MAX = 1_000;

export function createEvmPart(deps: EvmPartDeps): EvmPart {
  const network = `eip155:${deps.client.chainId}`;
  const asset = toLowerHex(deps.token.address);
  const context: EvmPartContext = {
    ...deps,
    ...{ network, asset, payTo: toLowerHex(deps.payTo) },
    signatures: createSignatureCheck(deps.token, deps.client.chainId, deps.log),
    readPayer: createPayerReader(deps.client),
  };
  const watch = watchHealth(deps, { network, asset });
  const within = (signal: AbortSignal, ms: number) => timeLimit(signal, ms);
  const { lookMs, settleMs } = deps.timeouts;
  const offers = createOffers(context);
  return {
    network,
    asset,
    wallet: deps.mover.wallet,
    offer: (quote) => (watch.current().isUp ? offers(quote) : undefined),
    isSignedBy: (input, signal) => isSignedByAccount(deps.client, input, within(signal, lookMs)),
    verify: (input, signal) => verifyAuthorization(context, input, within(signal, lookMs)),
    settle: (intent, signal) => settleIntent(context, intent, within(signal, settleMs)),
    lookup: (intent, signal) => lookUpIntent(context, intent, within(signal, lookMs)),
    balances: (input, signal) => readBalances(context, input, within(signal, lookMs)),
    findStrayPayments: (input, signal) => findStrayPayments(context, input, within(signal, lookMs)),
    health: watch.current,
    checkHealth: watch.check,
  };
}

/** Makes an offer once for its terms: the checksums are Keccak hashes, and wires spell what they see again once. */
function createOffers(context: EvmPartContext): (quote: Quote) => Eip3009Offer | undefined {
  const made = createMemo<Eip3009Offer>(OFFERS_KEPT_MAX);
  const { network, token, amountMin } = context;
  const terms = {
    kind: 'eip3009',
    network,
    asset: getAddress(context.asset),
    payTo: getAddress(context.payTo),
    tokenName: token.name,
    tokenVersion: token.version,
  } as const;
  return ({ amount, runTimeoutMs }) => {
    const units = toTokenUnits(amount);
    if (units === 0n || amount < amountMin) return undefined;
    const runSeconds = Math.ceil((runTimeoutMs + SETTLE_MARGIN_MS) / 1000);
    const timeoutSeconds = Math.max(OFFER_SECONDS_MIN, runSeconds + OFFER_SLACK_SECONDS);
    return made(`${units} ${timeoutSeconds}`, () => ({ ...terms, units, timeoutSeconds }));
  };
}

/** Addresses are compared as text, so one case only. */
function toLowerHex(address: Hex): Hex {
  return address.toLowerCase() as Hex;
}
