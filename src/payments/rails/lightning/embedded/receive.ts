import {
  Event_PaymentClaimable,
  Event_PaymentClaimed,
  Option_ThirtyTwoBytesZ_Some,
  Result_Bolt11InvoiceSignOrCreationErrorZ_OK,
  UtilMethods,
} from 'lightningdevkit';
import { sha256Hex } from '../../../../core/bytes.ts';
import { type Clock, toUnixSeconds } from '../../../../core/clock.ts';
import type { InvoiceInput, InvoiceStanding, MintedInvoice } from '../provider.ts';
import { type InvoiceRecord, toInvoiceStanding } from './book.ts';
import { listInboundHashes } from './channels.ts';
import { fromHex, optionalU16, optionalU64, readU32, toHex, unwrap } from './ldk.ts';
import type { LightningNode } from './node.ts';
import { Refusal } from './refusal.ts';
import { waitForCommit } from './wait.ts';

/** The receiving half of a node: invoices, plain and held. */
export type Receiver = {
  createInvoice(input: InvoiceInput): Promise<MintedInvoice>;
  lookup(paymentHash: string): InvoiceStanding;
  /** Resolves when the payment is ours for good. */
  settle(input: { paymentHash: string; preimage: string }, signal: AbortSignal): Promise<void>;
  cancel(paymentHash: string): Promise<void>;
  /** What changed after a cursor; never more than a page. */
  changesAfter(
    cursor: string | undefined,
  ): { paymentHash: string; standing: InvoiceStanding; cursor: string }[];
};

export type ReceiverDeps = {
  node: LightningNode;
  clock: Clock;
  /** Unix seconds of the newest block: LDK stamps invoices with it. */
  chainSeconds: () => number;
  /** Mines a block, which moves that clock on; resolves when the node has seen it. */
  refreshChain: () => Promise<void>;
};

/** Blocks a payer must leave us; LND gives its hold invoices about as many. */
const HOLD_CLTV_BLOCKS = 144;
/** We give a payment back this long before LDK would fail it, and LDK long before a channel closes over it. */
const DEADLINE_MARGIN_BLOCKS = 12;
/** Of the 483 that BOLT 2 allows, so that plain payments always get through. */
const HOLDS_PER_CHANNEL_MAX = 100;
/** The block time of this chain at its busiest: blocks are mined when the clock is this much behind. */
const CLOCK_LAG_MAX_SECONDS = 30;
/** BOLT 4 lets a payer send up to twice the amount. */
const OVERPAYMENT_MAX = 2n;
const CHANGES_PAGE = 200;

export function createReceiver(deps: ReceiverDeps): Receiver {
  const { node, clock } = deps;
  const { book, parts } = node;
  const nowMs = () => clock.now().getTime();
  const standingOf = (record: InvoiceRecord | undefined) =>
    toInvoiceStanding(record, {
      nowMs: nowMs(),
      height: node.height(),
      marginBlocks: DEADLINE_MARGIN_BLOCKS,
      blockMs: CLOCK_LAG_MAX_SECONDS * 1000,
    });
  watchPayments(deps);
  resumeUnfinished(node);

  return {
    createInvoice: async (input) => {
      if (lagSeconds(deps) > CLOCK_LAG_MAX_SECONDS) await deps.refreshChain();
      const { paymentHash, invoice } = mint(deps, input);
      const expiresAt = nowMs() + input.expirySeconds * 1000;
      const { amountMsat } = input;
      const isHold = input.hold !== undefined;
      book.putInvoice({
        ...{ paymentHash, invoice, amountMsat, isHold, expiresAt },
        state: 'open',
        receivedMsat: 0n,
      });
      await node.commit();
      return { invoice, paymentHash, expiresAt: new Date(expiresAt) };
    },
    lookup: (paymentHash) => standingOf(book.invoice(paymentHash)),
    settle: async ({ paymentHash, preimage }, signal) => {
      const record = book.invoice(paymentHash);
      if (sha256Hex(fromHex(preimage)) !== paymentHash) throw new Refusal('the preimage is of another hash');
      if (record?.state === 'settled') return;
      if (record?.state !== 'held' && record?.state !== 'settling') {
        throw new Refusal(`nothing is held: the invoice is ${standingOf(record).state}`);
      }
      // Written down with the claim itself, so that a restart goes on with it.
      if (record.state === 'held') book.putInvoice({ ...record, state: 'settling', preimage });
      parts.manager.claim_funds(fromHex(preimage));
      await node.commit();
      await waitForState({ node, paymentHash, state: 'settled', signal });
    },
    cancel: async (paymentHash) => {
      const record = book.invoice(paymentHash);
      if (record === undefined) throw new Refusal('there is no such invoice');
      if (record.state === 'cancelled') return;
      if (record.state === 'settled' || record.state === 'settling') {
        throw new Refusal('the payment was taken and cannot be given back');
      }
      giveBack(node, record);
      await node.commit();
    },
    changesAfter: (cursor) =>
      book.changesAfter(readCursor(node.id, cursor), CHANGES_PAGE).map((record) => ({
        paymentHash: record.paymentHash,
        standing: standingOf(record),
        cursor: `${node.id}-${record.change}`,
      })),
  };
}

/** A cursor names its node: with another one's, all is told from the beginning rather than nothing. */
function readCursor(nodeId: string, cursor: string | undefined): number {
  const [id, change] = (cursor ?? '').split('-');
  const number = Number(change);
  return id === nodeId && Number.isSafeInteger(number) ? number : 0;
}

function mint(deps: ReceiverDeps, input: InvoiceInput): { paymentHash: string; invoice: string } {
  const { node } = deps;
  const { hold, memo, expirySeconds } = input;
  if (hold && node.book.invoice(hold.paymentHash))
    throw new Refusal('the payment hash has an invoice already');
  // The invoice is stamped with the block's time, and is to expire by ours.
  const expiry = expirySeconds + Math.max(0, lagSeconds(deps));
  const amount = optionalU64(input.amountMsat);
  const { manager } = node.parts;
  const result = hold
    ? UtilMethods.constructor_create_invoice_from_channelmanager_with_payment_hash(
        manager,
        amount,
        memo,
        expiry,
        fromHex(hold.paymentHash),
        optionalU16(HOLD_CLTV_BLOCKS),
      )
    : UtilMethods.constructor_create_invoice_from_channelmanager(
        manager,
        amount,
        memo,
        expiry,
        optionalU16(undefined),
      );
  const invoice = unwrap(result, Result_Bolt11InvoiceSignOrCreationErrorZ_OK, 'an invoice');
  return { paymentHash: toHex(invoice.payment_hash()), invoice: invoice.to_str() };
}

function lagSeconds({ clock, chainSeconds }: ReceiverDeps): number {
  return toUnixSeconds(clock.now()) - chainSeconds();
}

function watchPayments(deps: ReceiverDeps): void {
  const { node, clock } = deps;
  const { book } = node;
  node.onEvent((event) => {
    if (event instanceof Event_PaymentClaimable) acceptOrFail(deps, event);
    if (event instanceof Event_PaymentClaimed) {
      const record = book.invoice(toHex(event.payment_hash));
      // Told again after a restart.
      if (record === undefined || record.state === 'settled') return;
      const settledAt = clock.now().getTime();
      book.putInvoice({ ...record, state: 'settled', receivedMsat: event.amount_msat, settledAt });
    }
  });
  node.onHeight((height) => {
    for (const record of book.unfinished()) {
      const { state, deadlineHeight } = record;
      const isDue = deadlineHeight !== undefined && height >= deadlineHeight - DEADLINE_MARGIN_BLOCKS;
      if (state === 'held' && isDue) giveBack(node, record);
    }
  });
}

/** LDK takes a second payment to a paid hash, any overpayment, and what is late by our clock: we do not. */
function acceptOrFail(deps: ReceiverDeps, event: Event_PaymentClaimable): void {
  const { node, clock } = deps;
  const { book, parts } = node;
  const hash = event.payment_hash;
  const paymentHash = toHex(hash);
  const record = book.invoice(paymentHash);
  const received = event.amount_msat;
  const channelId = toHex(event.via_channel_id?.write() ?? new Uint8Array(0));
  const deadlineHeight = readU32(event.claim_deadline);
  const isWelcome =
    record?.state === 'open' &&
    clock.now().getTime() < record.expiresAt &&
    received >= record.amountMsat &&
    received <= record.amountMsat * OVERPAYMENT_MAX &&
    (!record.isHold || countHolds(node, channelId) < HOLDS_PER_CHANNEL_MAX) &&
    (deadlineHeight ?? Number.POSITIVE_INFINITY) - DEADLINE_MARGIN_BLOCKS > node.height();
  if (!isWelcome) {
    node.later(() => parts.manager.fail_htlc_backwards(hash));
    return;
  }
  const taken = {
    ...record,
    receivedMsat: received,
    channelId,
    ...(deadlineHeight === undefined ? {} : { deadlineHeight }),
  };
  if (record.isHold) {
    book.putInvoice({ ...taken, state: 'held' });
    return;
  }
  const preimage = event.purpose.preimage();
  if (!(preimage instanceof Option_ThirtyTwoBytesZ_Some)) {
    node.later(() => parts.manager.fail_htlc_backwards(hash));
    return;
  }
  const bytes = preimage.some;
  book.putInvoice({ ...taken, state: 'settling', preimage: toHex(bytes) });
  node.later(() => parts.manager.claim_funds(bytes));
}

function countHolds(node: LightningNode, channelId: string): number {
  return node.book.unfinished().filter((other) => other.isHold && other.channelId === channelId).length;
}

function giveBack(node: LightningNode, record: InvoiceRecord): void {
  node.book.putInvoice({ ...record, state: 'cancelled' });
  if (record.state === 'held') {
    node.later(() => node.parts.manager.fail_htlc_backwards(fromHex(record.paymentHash)));
  }
}

/** LDK does not tell of held payments again after a restart: what the book says is compared with its channels. */
function resumeUnfinished(node: LightningNode): void {
  const inbound = listInboundHashes(node);
  for (const record of node.book.unfinished()) {
    if (record.state === 'settling' && record.preimage !== undefined) {
      node.parts.manager.claim_funds(fromHex(record.preimage));
    }
    // Its channel was closed under it.
    if (record.state === 'held' && !inbound.has(record.paymentHash)) giveBack(node, record);
  }
  void node.commit();
}

async function waitForState(input: {
  node: LightningNode;
  paymentHash: string;
  state: InvoiceRecord['state'];
  signal: AbortSignal;
}): Promise<void> {
  const { node, paymentHash, state, signal } = input;
  await waitForCommit(node, () => node.book.invoice(paymentHash)?.state === state || undefined, signal);
}
