import { type Hex, pad, toHex } from 'viem';
import { isMemoOf } from './memo.ts';
import { TRANSFER_WITH_MEMO } from './token.ts';

/** What we read of a log. */
export type TokenLog = { address: string; topics: readonly string[]; data: string };

/** The transfer that pays a challenge. */
export type ExpectedTransfer = {
  currency: Hex;
  recipient: Hex;
  units: bigint;
  /** Undefined when the credential does not say: then the memo alone binds it. */
  payer: Hex | undefined;
  challengeId: string;
  realm?: string | undefined;
};

/**
 * The proof of payment in a transaction's logs: a `TransferWithMemo` of the exact units to us with the
 * challenge's memo. Answers what arrived, which is more when the payer's batch pays twice; 0 when nothing did.
 */
export function sumPayments(logs: readonly TokenLog[], expected: ExpectedTransfer): bigint {
  return expected.units * BigInt(logs.filter((log) => isPayment(log, expected)).length);
}

function isPayment({ address, topics, data }: TokenLog, expected: ExpectedTransfer): boolean {
  const [event, from, to, memo] = topics;
  return (
    isSame(address, expected.currency) &&
    isSame(event, TRANSFER_WITH_MEMO) &&
    (expected.payer === undefined || isSame(from, pad(expected.payer))) &&
    isSame(to, pad(expected.recipient)) &&
    isSame(data, toHex(expected.units, { size: 32 })) &&
    memo !== undefined &&
    isMemoOf(memo.toLowerCase() as Hex, expected)
  );
}

function isSame(a: string | undefined, b: string): boolean {
  return a?.toLowerCase() === b.toLowerCase();
}
