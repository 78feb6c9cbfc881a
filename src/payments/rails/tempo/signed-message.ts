import { SignatureEnvelope } from 'ox/tempo';
import { type Hex, hashMessage } from 'viem';
import { isSignedByAccount } from '../../../chain/index.ts';
import type { TempoRailContext } from './context.ts';
import { recoverSigner } from './transaction.ts';

/**
 * Whether an account of Tempo signed a message (ERC-191) by its own key, a passkey too, or by what its contract
 * accepts (ERC-1271). A lent key does not speak for the account. Undefined for an account of another network.
 */
export async function isSignedByPayer(
  context: Pick<TempoRailContext, 'client' | 'network'>,
  input: { payer: string; message: string; signature: Hex },
  signal: AbortSignal,
): Promise<boolean | undefined> {
  const { payer, message, signature } = input;
  const prefix = `${context.network}:`;
  if (!payer.startsWith(prefix)) return undefined;
  const signer = readSigner(signature, hashMessage(message));
  if (signer === payer.slice(prefix.length)) return true;
  return isSignedByAccount(context.client, input, signal);
}

function readSigner(signature: Hex, payload: Hex): Hex | undefined {
  try {
    return recoverSigner(SignatureEnvelope.deserialize(signature), payload);
  } catch {
    // Whatever the bytes are: no key of an account made them.
    return undefined;
  }
}
