import { call } from 'viem/actions';
import { type ChainClient, isRevert } from '../../../chain/index.ts';
import type { Eip3009Form } from '../../form.ts';
import { encodeTransfer } from './token.ts';

/** Whether the token refuses an authorization in a trial that sends nothing. Throws when the chain cannot say. */
export async function isRefusedByToken(
  client: ChainClient,
  input: { form: Eip3009Form; at: { blockNumber?: bigint } },
  signal: AbortSignal,
): Promise<boolean> {
  const { form, at } = input;
  try {
    // Anybody may bring an authorization, so it does not matter who does here.
    await call(client.within(signal), {
      ...at,
      to: form.asset,
      data: encodeTransfer(form),
      account: form.to,
    });
    return false;
  } catch (error) {
    if (isRevert(error)) return true;
    throw error;
  }
}
