import { type Hex, hexToBigInt, numberToHex } from 'viem';
import { getTransactionReceipt } from 'viem/actions';
import { readFinalNumber } from '../../../chain/index.ts';
import {
  AMOUNT_MILLICENTS_MAX,
  fromTokenUnitsRoundedDown,
  type Millicents,
  millicents,
  toTokenUnits,
} from '../../../core/money.ts';
import type { EvmPartContext } from './context.ts';
import { claimKeyOf, payerOf, unitOf } from './identity.ts';
import { listPayments, paymentTopics, referenceOf } from './payment-event.ts';

/** A payment that reached us by EIP-3009 and that no claim of ours names. */
export type StrayPayment = {
  claimKey: string;
  payer: string;
  unit: string;
  units: bigint;
  /** What it is worth to us, rounded down. */
  amount: Millicents;
  reference: string;
  blockNumber: bigint;
};

/** One step through the chain: store `cursor` together with what was done about the payments. */
export type StrayPage = {
  payments: StrayPayment[];
  /** The last block looked at; the next page begins after it. */
  cursor: bigint;
  /** There is no further final block to look at now. */
  isCaughtUp: boolean;
};

export type StrayInput = {
  /** The last block that was looked at; undefined begins with what becomes final from now on. */
  sinceBlock: bigint | undefined;
  /** Which of these claims exist. */
  isClaimed(claimKeys: readonly string[]): Promise<ReadonlySet<string>>;
};

/** How many transactions are read at once. */
const RECEIPTS_AT_ONCE = 4;
/** What the books can hold: beyond it something is wrong, or the token costs nothing. */
const UNITS_MAX = toTokenUnits(millicents(AMOUNT_MILLICENTS_MAX));

/**
 * Looks for payments to us that nobody claimed, a page of final blocks at a time. Plain transfers are not
 * listed: nothing says what they are for. Throws when the chain cannot say; ask again with the same cursor.
 */
export async function findStrayPayments(
  context: EvmPartContext,
  input: StrayInput,
  signal: AbortSignal,
): Promise<StrayPage> {
  const final = await readFinalNumber(context.client, signal);
  const { sinceBlock } = input;
  if (sinceBlock === undefined || sinceBlock >= final) {
    return { payments: [], cursor: sinceBlock ?? final, isCaughtUp: true };
  }
  const lastOfPage = sinceBlock + BigInt(context.search.pageBlocks);
  const cursor = lastOfPage < final ? lastOfPage : final;
  const hashes = await listTransactions(context, { from: sinceBlock + 1n, to: cursor }, signal);
  const found: StrayPayment[] = [];
  for (let at = 0; at < hashes.length; at += RECEIPTS_AT_ONCE) {
    const some = hashes.slice(at, at + RECEIPTS_AT_ONCE);
    found.push(...(await Promise.all(some.map((hash) => readPayments(context, hash, signal)))).flat());
  }
  const claimed =
    found.length === 0 ? new Set() : await input.isClaimed(found.map(({ claimKey }) => claimKey));
  const payments = found.filter(({ claimKey }) => !claimed.has(claimKey));
  return { payments, cursor, isCaughtUp: cursor === final };
}

/** Every transaction that moved the token to us, once, in the order of the chain. */
async function listTransactions(
  context: EvmPartContext,
  blocks: { from: bigint; to: bigint },
  signal: AbortSignal,
): Promise<Hex[]> {
  const logs = await context.client.within(signal).request({
    method: 'eth_getLogs',
    params: [
      {
        address: context.asset,
        topics: paymentTopics(context.payTo),
        fromBlock: numberToHex(blocks.from),
        toBlock: numberToHex(blocks.to),
      },
    ],
  });
  const inOrder = logs.toSorted((a, b) => Number(blockOf(a) - blockOf(b)));
  return [...new Set(inOrder.map((log) => log.transactionHash))].filter((hash) => hash !== null);
}

function blockOf(log: { blockNumber: Hex | null }): bigint {
  return log.blockNumber === null ? 0n : hexToBigInt(log.blockNumber);
}

async function readPayments(
  context: EvmPartContext,
  hash: Hex,
  signal: AbortSignal,
): Promise<StrayPayment[]> {
  const { network, asset, payTo } = context;
  const receipt = await getTransactionReceipt(context.client.within(signal), { hash });
  return listPayments(receipt.logs, { asset, payTo }).flatMap(({ from, nonce, units, ordinal }) => {
    const name = { network, asset, from, nonce };
    if (units > UNITS_MAX) {
      // It must not keep those behind it from being credited.
      const claimKey = claimKeyOf(name);
      context.log.error(
        { claimKey, hash, units: `${units}` },
        'a payment is too large to be credited: book it by hand',
      );
      return [];
    }
    return {
      ...{ claimKey: claimKeyOf(name), payer: payerOf(name), unit: unitOf(name), units },
      amount: fromTokenUnitsRoundedDown(units),
      reference: referenceOf(hash, ordinal),
      blockNumber: receipt.blockNumber,
    };
  });
}
