import {
  type Hex,
  isAddressEqual,
  isHex,
  type LocalAccount,
  numberToHex,
  parseTransaction,
  recoverTransactionAddress,
  type Signature,
  serializeTransaction,
  type TransactionSerializable,
  type TransactionSerializableEIP1559,
  type TransactionSerializedEIP1559,
} from 'viem';
import { toAccount } from 'viem/accounts';
import { z } from 'zod';
import { readBounded, settleBy } from '../core/bounded-answer.ts';

export type RemoteSignerOptions = {
  /** A JSON-RPC server that answers `eth_signTransaction`, such as Web3Signer in front of a KMS, an HSM or Vault. */
  url: string;
  /** Whose key is to sign. */
  address: Hex;
  timeouts: { callMs: number };
};

/** An account whose key is elsewhere. */
export type RemoteSigner = LocalAccount & { source: 'remote' };

/** A transaction takes a few kilobytes. */
const ANSWER_BYTES_MAX = 256 * 1024;
const REASON_CHARS_MAX = 200;

const hex = z.custom<Hex>((value) => isHex(value));
const answerSchema = z.object({
  // Web3Signer answers the bytes, clef and geth an object with them in it.
  result: z.union([hex, z.object({ raw: hex }).transform(({ raw }) => raw)]).optional(),
  error: z.object({ message: z.string() }).optional(),
});

/**
 * Has transactions signed by a server that holds the key. What comes back is refused unless it is to the byte what
 * was asked for, signed by that key: a signer that is wrong or taken over can at worst not sign.
 */
export function createRemoteSigner(options: RemoteSignerOptions): RemoteSigner {
  const refuse = async (): Promise<never> => {
    throw new Error('the remote signer is for transactions only');
  };
  const account = toAccount({
    address: options.address,
    signMessage: refuse,
    signTypedData: refuse,
    signTransaction: async (transaction) => {
      const raw = await request(options, toParameters(options, transaction));
      await expectAsAsked(options, transaction, raw);
      return raw;
    },
  });
  return { ...account, source: 'remote' };
}

/** Only what Web3Signer knows; it takes the chain from its own configuration, and a wrong one is found afterwards. */
function toParameters({ address }: RemoteSignerOptions, transaction: TransactionSerializable): object {
  const { to, data, nonce, gas, value, chainId } = transaction;
  const { maxFeePerGas, maxPriorityFeePerGas } = toEip1559(transaction);
  return {
    ...{ from: address, to, data: data ?? '0x', value: numberToHex(value ?? 0n) },
    ...{ nonce: numberToHex(nonce ?? 0), gas: numberToHex(gas ?? 0n) },
    ...(chainId === undefined ? {} : { chainId: numberToHex(chainId) }),
    maxFeePerGas: numberToHex(maxFeePerGas ?? 0n),
    maxPriorityFeePerGas: numberToHex(maxPriorityFeePerGas ?? 0n),
  };
}

function toEip1559(transaction: TransactionSerializable): TransactionSerializableEIP1559 {
  if (transaction.type !== 'eip1559') throw new Error('only EIP-1559 transactions are signed remotely');
  return transaction as TransactionSerializableEIP1559;
}

async function request({ url, timeouts }: RemoteSignerOptions, parameters: object): Promise<Hex> {
  const limit = AbortSignal.timeout(timeouts.callMs);
  const asked = fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_signTransaction', params: [parameters] }),
    redirect: 'error',
    signal: limit,
  });
  const response = await settleBy(limit, asked).catch((cause: unknown) => {
    throw new Error('the remote signer does not answer', { cause });
  });
  const body = await readBounded(response, { bytesMax: ANSWER_BYTES_MAX, signal: limit });
  const answer = answerSchema.safeParse(parse(body.toString('utf8')));
  if (!answer.success) throw new Error(`the remote signer answered ${response.status}, and no JSON-RPC`);
  const { result, error } = answer.data;
  if (result !== undefined) return result;
  throw new Error(
    `the remote signer refused: ${error?.message.slice(0, REASON_CHARS_MAX) ?? 'without a reason'}`,
  );
}

/** The signature is put on our own transaction: only the same bytes as those that came can be what was asked. */
async function expectAsAsked(
  { address }: RemoteSignerOptions,
  transaction: TransactionSerializable,
  raw: Hex,
): Promise<void> {
  const signature = readSignature(raw);
  const asked = signature && serializeTransaction(toEip1559(transaction), signature);
  if (asked !== raw.toLowerCase())
    throw new Error('the remote signer signed another transaction than it was asked to');
  const serializedTransaction = asked as TransactionSerializedEIP1559;
  const signedBy = await recoverTransactionAddress({ serializedTransaction }).catch(() => undefined);
  if (!signedBy || !isAddressEqual(signedBy, address)) {
    throw new Error(`the remote signer signed as ${signedBy ?? 'nobody'}, and not as ${address}`);
  }
}

function readSignature(raw: Hex): Signature | undefined {
  try {
    const { r, s, yParity, v } = parseTransaction(raw as TransactionSerializedEIP1559);
    if (r === undefined || s === undefined || yParity === undefined) return undefined;
    return v === undefined ? { r, s, yParity } : { r, s, yParity, v };
  } catch {
    // Not a transaction at all: refused like any other that was not asked for.
    return undefined;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
