import { encodeEventTopics, type Hex, pad, toHex } from 'viem';
import type { Eip3009Form } from '../../form.ts';
import { tokenAbi } from './token.ts';

/** What we read of a log, in the order the chain wrote it. */
export type TokenLog = { address: string; topics: readonly string[]; data: string };

const [TRANSFER] = encodeEventTopics({ abi: tokenAbi, eventName: 'Transfer' });
const [USED] = encodeEventTopics({ abi: tokenAbi, eventName: 'AuthorizationUsed' });
const [CANCELED] = encodeEventTopics({ abi: tokenAbi, eventName: 'AuthorizationCanceled' });

/**
 * The proof of payment in one transaction's logs: `AuthorizationUsed(from, nonce)` and, as the token's very
 * next event, `Transfer(from, to, value)`. Somewhere in the same transaction is not enough: a batch could use
 * our nonce to pay its owner, pay us once by another authorization, and count for both.
 * `ordinal` says how many payments to the same payee come before it in the transaction.
 */
export function findPayment(logs: readonly TokenLog[], form: Eip3009Form): { ordinal: number } | undefined {
  const events = logs.filter((log) => isSame(log.address, form.asset));
  let ordinal = 0;
  for (const [index, event] of events.entries()) {
    const next = events[index + 1];
    if (!isSame(event.topics[0], USED) || next === undefined) continue;
    if (!isSame(next.topics[0], TRANSFER) || !isSame(next.topics[2], pad(form.to))) continue;
    if (
      isSame(event.topics[1], pad(form.from)) &&
      isSame(event.topics[2], form.nonce) &&
      isSame(next.topics[1], pad(form.from)) &&
      isSame(next.data, toHex(form.value, { size: 32 }))
    ) {
      return { ordinal };
    }
    ordinal += 1;
  }
  return undefined;
}

/** A settlement's name, unique even when one transaction carries several payments to us. */
export function referenceOf(hash: string, ordinal: number): string {
  return ordinal === 0 ? hash : `${hash}#${ordinal}`;
}

/** The topics by which a node finds what ended an authorization: it was used, or it was cancelled. */
export function endingTopics(form: Eip3009Form): [Hex[], Hex, Hex] {
  return [[USED, CANCELED], pad(form.from), form.nonce];
}

/** Whether the log says that the authorization was cancelled. */
export function isCancellation(log: { topics: readonly string[] }): boolean {
  return isSame(log.topics[0], CANCELED);
}

function isSame(a: string | undefined, b: string): boolean {
  return a?.toLowerCase() === b.toLowerCase();
}
