import { encodeFunctionData, type Hex, parseAbi, slice } from 'viem';
import { call } from 'viem/actions';
import { type ChainClient, isRevert } from '../../../chain/index.ts';
import type { Eip3009Form } from '../../form.ts';
import { unwrapSignature } from './token.ts';

const walletAbi = parseAbi([
  'function isValidSignature(bytes32 hash, bytes signature) view returns (bytes4)',
]);
const VALID_SIGNATURE: Hex = '0x1626ba7e';

/** Whether the contract at `from` accepts the signature (ERC-1271). Throws when the chain cannot say. */
export async function isAcceptedByWallet(
  input: { form: Eip3009Form; hash: Hex; client: ChainClient },
  signal: AbortSignal,
): Promise<boolean> {
  const { form, hash, client } = input;
  try {
    const answer = await call(client.within(signal), {
      to: form.from,
      data: encodeFunctionData({
        abi: walletAbi,
        functionName: 'isValidSignature',
        args: [hash, unwrapSignature(form.signature)],
      }),
    });
    return answer.data !== undefined && slice(answer.data, 0, 4) === VALID_SIGNATURE;
  } catch (error) {
    if (isRevert(error)) return false;
    throw error;
  }
}
