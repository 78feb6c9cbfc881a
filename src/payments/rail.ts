import type { Millicents } from '../core/money.ts';
import type { Form } from './form.ts';
import type { Quote } from './quote.ts';

/** Where money moves. */
export type RailName = 'evm' | 'tempo' | 'lightning' | 'stripe';

/** What a payer must know to pay a quote by one form; wires spell it. A further rail adds its kind. */
export type Offer = Eip3009Offer | TempoOffer | Bolt11Offer | SptOffer;

export type Eip3009Offer = {
  kind: 'eip3009';
  /** CAIP-2. */
  network: string;
  asset: `0x${string}`;
  payTo: `0x${string}`;
  /** Atomic token units. */
  units: bigint;
  /** The token's EIP-712 domain. */
  tokenName: string;
  tokenVersion: string;
  /** How long the authorization must stay valid, seconds. */
  timeoutSeconds: number;
};

/** A TIP-20 transfer on Tempo, which the payer hands to us signed (pull) or sends itself (push). */
export type TempoOffer = {
  kind: 'tempo';
  /** CAIP-2. */
  network: string;
  currency: `0x${string}`;
  recipient: `0x${string}`;
  /** Atomic token units. */
  units: bigint;
};

/** A Lightning invoice, minted for this quote alone; every wire offers the same one. */
export type Bolt11Offer = {
  kind: 'bolt11';
  invoice: string;
  /** 32 bytes, lower-case hex. */
  paymentHash: string;
  sats: bigint;
  network: LightningNetwork;
  /** The payment is held until the call has delivered, and given back when it has not. */
  isHold: boolean;
};

/** BOLT 11 prefixes `lnbc`, `lntb` or `lntbs`, and `lnbcrt`. */
export type LightningNetwork = 'mainnet' | 'testnet' | 'signet' | 'regtest';

/** A card or wallet behind a Stripe shared payment token. */
export type SptOffer = {
  kind: 'spt';
  currency: 'usd';
  /** In cents. */
  units: bigint;
  /** The seller's Stripe profile that tokens are granted to, `profile_...`. */
  networkId: string;
  paymentMethodTypes: readonly string[];
};

/** What an offer is made for, and to whom. */
export type OfferInput = {
  quote: Quote;
  /** Where the caller is, as far as the carrier knows: minting is limited by it. */
  address: string | undefined;
};

/** A verified credential: money that may be moved, is held for us, or has already arrived. */
export type Authorization = {
  rail: RailName;
  /** The rail's own id of this payment, for example `evm:eip155:84532:<token>:<from>:<nonce>`. */
  claimKey: string;
  /** Who pays, as CAIP-10 where there is an address. */
  payer: string;
  /** The ledger unit money arrives in, for example `eip155:84532/erc20:0x036c...`. */
  unit: string;
  /** Native units this pays. */
  units: bigint;
  /** What they are worth to us, at the quote's rate. */
  amount: Millicents;
  form: Form;
  /**
   * `authorised`: the payer can still spend it elsewhere (evm, tempo pull); `held`: it cannot get away and
   * can still be given back (lightning HTLC, stripe manual capture); `paid`: it has arrived for good.
   */
  state: 'authorised' | 'held' | 'paid';
  /** What the payer owns now, native units; `undefined` when the rail has the money already. */
  fundsAvailable: bigint | undefined;
  /** The rail cannot promise that this settles later (a contract wallet): settle before the run. */
  mustSettleFirst: boolean;
  validUntil: Date;
};

export type Verification =
  | { kind: 'authorised'; authorization: Authorization }
  /** It can never pay this quote; `reason` is public. What its payer surely signed, where only the money lacks. */
  | { kind: 'refused'; reason: string; authorization?: Authorization }
  /** It was spent on-rail, to us, before we claimed it: credited to its payer, never served. */
  | { kind: 'spent'; authorization: Authorization; settlement: Settled }
  /** The rail cannot say now. */
  | { kind: 'unavailable'; cause: unknown };

/** What the database keeps of a settlement to make: everything `settle` needs after a crash. */
export type SettlementIntent = {
  claimKey: string;
  payer: string;
  unit: string;
  /** What to move; a scheme with a ceiling settles less than its form allows. */
  units: bigint;
  form: Form;
  validUntil: Date;
};

export type Settled = {
  kind: 'settled';
  /** The transaction hash, payment hash or charge id: unique on the rail. */
  reference: string;
  /** Native units that arrived; more than the intent's when the payer overpaid. */
  units: bigint;
  /** What the intent's units are worth at the rate of the quote; absent where that is the price itself. */
  worth?: Millicents;
  /** Nothing can undo it any more. Until it is, `lookup` is asked again (a block may be replaced). */
  isFinal: boolean;
  costs: SettlementCost[];
};

/** What moving money, or trying to, cost us, in native units of another account (gas in wei). */
export type SettlementCost = { account: string; expense: string; unit: string; units: bigint };

export type Settlement =
  | Settled
  /** Nothing moved, and by this authorization nothing ever will. */
  | { kind: 'refused'; reason: string; costs?: SettlementCost[] }
  /** Money may have moved: ask `lookup` later, never challenge again. */
  | { kind: 'unknown'; cause: unknown };

/** What came of setting the payer's money aside. */
export type Holding =
  | { kind: 'held' }
  | { kind: 'refused'; reason: string }
  /** It may be held: `cancel` gives it back. */
  | { kind: 'unknown'; cause: unknown };

/**
 * A payment that came by itself, before or without a request that shows it: `held`, and to be given back
 * unless its request delivers, or `paid` for good.
 * `quoteHash` is `hashQuoteId` of the quote it pays.
 */
export type Arrival = { quoteHash: Buffer; authorization: Authorization };

/** What a rail holds outside of our books, by the ledger account that says the same. */
export type RailBalance = {
  /** The name of the ledger account, for example `A.evm:eip155:8453/erc20:0x8335...`. */
  account: string;
  unit: string;
  units: bigint;
};

/**
 * Moves money on one rail. It knows no header and no ledger. Every call is bounded by `signal` and by a
 * timeout of its own, and never throws for an ordinary outcome.
 */
export type Rail = {
  readonly name: RailName;
  /** The forms it accepts. */
  readonly forms: readonly Form['kind'][];
  /** Whose payment a form is and which one, without looking at the rail: pure, so that a replay finds its claim. */
  identify(form: Form): { claimKey: string; payer: string };
  /**
   * How to pay this quote; empty when the rail cannot take it now (down, too small, no rate, limit reached).
   * May mint, and then keeps what `verify` needs under the quote's id. Nobody changes an offer: a rail gives
   * the same object for the same terms, and wires spell it once.
   */
  offer(input: OfferInput, signal: AbortSignal): Offer[] | Promise<Offer[]>;
  /** Rails whose offers are for one quote alone: whether one would be minted now. Asking takes nothing. */
  mints?(input: OfferInput): boolean;
  /** Checks a form against the quote; changes nothing. */
  verify(form: Form, quote: Quote, signal: AbortSignal): Promise<Verification>;
  /**
   * Rails that can: sets the payer's money aside before the run (a card authorisation), so that the run risks
   * nothing. Called again with the same intent it holds once.
   */
  hold?(intent: SettlementIntent, signal: AbortSignal): Promise<Holding>;
  /** Moves the money, or continues to; called again with the same intent it moves it once. */
  settle(intent: SettlementIntent, signal: AbortSignal): Promise<Settlement>;
  /** What became of an intent; moves nothing. `unknown` while it can still happen. */
  lookup(intent: SettlementIntent, signal: AbortSignal): Promise<Settlement>;
  /** Gives back what is held; safe to repeat. Nothing to do where the payer still has the money. */
  cancel(intent: SettlementIntent, signal: AbortSignal): Promise<void>;
  /**
   * Rails on which money arrives by itself: hands each arrival over, at least once and again after a restart
   * until it was settled or cancelled, until `signal` aborts. `onArrival` may throw: it is told again later.
   */
  watch?(onArrival: (arrival: Arrival) => Promise<void>, signal: AbortSignal): Promise<void>;
  /**
   * Whether the payer (CAIP-10) signed this message (ERC-191); undefined when it is of no network of this
   * rail. Throws when the network cannot say.
   */
  isSignedBy?(
    input: { payer: string; message: string; signature: `0x${string}` },
    signal: AbortSignal,
  ): Promise<boolean | undefined>;
  /** What is ours outside of the books, for the operator's reconciliation. Throws when it cannot tell. */
  balances(signal: AbortSignal): Promise<RailBalance[]>;
};
