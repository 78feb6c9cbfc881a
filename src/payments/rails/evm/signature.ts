import {
  BaseError,
  encodeFunctionData,
  type Hex,
  hashTypedData,
  parseAbi,
  recoverAddress,
  slice,
} from 'viem';
import { call } from 'viem/actions';
import type { ChainClient } from '../../../chain/index.ts';
import type { Eip3009Form } from '../../form.ts';
import { isKeySignature, type Token, unwrapSignature } from './token.ts';

const transferTypes = {
  TransferWithAuthorization: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'value', type: 'uint256' },
    { name: 'validAfter', type: 'uint256' },
    { name: 'validBefore', type: 'uint256' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const;

const walletAbi = parseAbi([
  'function isValidSignature(bytes32 hash, bytes signature) view returns (bytes4)',
]);
const VALID_SIGNATURE: Hex = '0x1626ba7e';
/** Half the order of secp256k1: above it a signature is the mirror image of another one. */
const CANONICAL_S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

/** The EIP-712 hash that the payer signs (EIP-3009). */
export function hashAuthorization(form: Eip3009Form, token: Token, chainId: number): Hex {
  return hashTypedData({
    domain: { name: token.name, version: token.version, chainId, verifyingContract: token.address },
    types: transferTypes,
    primaryType: 'TransferWithAuthorization',
    message: form,
  });
}

/** Whether the key of `from` made the signature. Needs no network; a mirrored `s` is refused, as tokens do. */
export async function isSignedByKey(form: Eip3009Form, hash: Hex): Promise<boolean> {
  if (!isKeySignature(form.signature)) return false;
  if (BigInt(slice(form.signature, 32, 64)) > CANONICAL_S_MAX) return false;
  try {
    return (await recoverAddress({ hash, signature: form.signature })).toLowerCase() === form.from;
  } catch {
    // Not a point on the curve: no key made it.
    return false;
  }
}

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

/**
 * Whether a failed call was run and refused by a contract. viem also takes a node's internal error for a
 * revert, which would make an outage look like a definite answer.
 */
export function isRevert(error: unknown): boolean {
  if (!(error instanceof BaseError)) return false;
  const found = error.walk(
    (inner) =>
      inner instanceof BaseError &&
      (('code' in inner && inner.code === REVERT_CODE) || /\breverted\b/i.test(inner.details)),
  );
  return found !== null;
}

/** JSON-RPC's code for "execution reverted". */
const REVERT_CODE = 3;
