import { encodeEventTopics, type Hex, pad } from 'viem';
import type { Eip3009Form } from '../../form.ts';
import { tokenAbi } from './token.ts';

/** What we read of a log, in the order the chain wrote it. */
export type TokenLog = { address: string; topics: readonly string[]; data: string };

const [TRANSFER] = encodeEventTopics({ abi: tokenAbi, eventName: 'Transfer' });
const [USED] = encodeEventTopics({ abi: tokenAbi, eventName: 'AuthorizationUsed' });
const [CANCELED] = encodeEventTopics({ abi: tokenAbi, eventName: 'AuthorizationCanceled' });

/** One payment by an authorization, as the token's events tell it. */
export type PaymentEvent = {
  from: Hex;
  nonce: Hex;
  units: bigint;
  /** How many payments to the same payee come before it in the transaction. */
  ordinal: number;
};

/**
 * The payments to a payee in one transaction's logs: each is `AuthorizationUsed(from, nonce)` and, as the
 * token's very next event, `Transfer(from, to, value)`. Somewhere in the same transaction is not enough: a
 * batch could use our nonce to pay its owner, pay us once by another authorization, and count for both.
 */
export function listPayments(logs: readonly TokenLog[], to: { asset: string; payTo: Hex }): PaymentEvent[] {
  const payments: PaymentEvent[] = [];
  const events = logs.filter((log) => isSame(log.address, to.asset));
  let ordinal = 0;
  for (const [index, event] of events.entries()) {
    const next = events[index + 1];
    if (!isSame(event.topics[0], USED) || next === undefined) continue;
    if (!isSame(next.topics[0], TRANSFER) || !isSame(next.topics[2], pad(to.payTo))) continue;
    const payment = readPair(event, next);
    if (payment) payments.push({ ...payment, ordinal });
    ordinal += 1;
  }
  return payments;
}

/** Undefined when the transfer is not the authorizer's. */
function readPair(used: TokenLog, transfer: TokenLog): Omit<PaymentEvent, 'ordinal'> | undefined {
  const [, authorizer = '', nonce = ''] = used.topics;
  if (!isSame(transfer.topics[1], authorizer)) return undefined;
  return { from: toHex20(authorizer), nonce: toHex32(nonce), units: BigInt(transfer.data) };
}

/** The proof that an authorization paid, in one transaction's logs. */
export function findPayment(logs: readonly TokenLog[], form: Eip3009Form): { ordinal: number } | undefined {
  return listPayments(logs, { asset: form.asset, payTo: form.to }).find(
    ({ from, nonce, units }) => from === form.from && nonce === form.nonce && units === form.value,
  );
}

/** A settlement's name, unique even when one transaction carries several payments to us. */
export function referenceOf(hash: string, ordinal: number): string {
  return ordinal === 0 ? hash : `${hash}#${ordinal}`;
}

/** The topics by which a node finds what ended an authorization: it was used, or it was cancelled. */
export function endingTopics(form: Eip3009Form): [Hex[], Hex, Hex] {
  return [[USED, CANCELED], pad(form.from), form.nonce];
}

/** The topics by which a node finds the transfers to a payee. */
export function paymentTopics(payTo: Hex): [Hex, null, Hex] {
  return [TRANSFER, null, pad(payTo)];
}

/** Whether the log says that the authorization was cancelled. */
export function isCancellation(log: { topics: readonly string[] }): boolean {
  return isSame(log.topics[0], CANCELED);
}

/** An address out of the word that an event keeps it in: the last 20 of 32 bytes. */
function toHex20(word: string): Hex {
  return `0x${word.slice(-40).toLowerCase()}`;
}

function toHex32(word: string): Hex {
  return `0x${word.slice(2).toLowerCase()}`;
}

function isSame(a: string | undefined, b: string): boolean {
  return a?.toLowerCase() === b.toLowerCase();
}
