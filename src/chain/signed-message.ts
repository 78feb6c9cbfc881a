import type { Hex } from 'viem';
import { verifyMessage } from 'viem/actions';
import type { ChainClient } from './client.ts';

/**
 * Whether an account of this chain signed a message: by its key (ERC-191) or by what its contract accepts
 * (ERC-1271). Undefined for an account of another chain; throws when the chain cannot say.
 */
export async function isSignedByAccount(
  client: ChainClient,
  input: { payer: string; message: string; signature: Hex },
  signal: AbortSignal,
): Promise<boolean | undefined> {
  const prefix = `eip155:${client.chainId}:`;
  if (!input.payer.startsWith(prefix)) return undefined;
  // What follows the chain's id is an address in CAIP-10, which the caller has checked.
  const address = input.payer.slice(prefix.length) as Hex;
  return verifyMessage(client.within(signal), {
    ...{ address, message: input.message, signature: input.signature },
  });
}
