import {
  encodeFunctionData,
  type Hex,
  isErc6492Signature,
  parseAbi,
  parseErc6492Signature,
  parseSignature,
  size,
} from 'viem';
import type { Eip3009Form } from '../../form.ts';

/** The token whose authorizations a rail takes; name and version are its EIP-712 domain. */
export type Token = { address: Hex; name: string; version: string };

/** What we use of an EIP-3009 token. */
export const tokenAbi = parseAbi([
  'function balanceOf(address account) view returns (uint256)',
  'function authorizationState(address authorizer, bytes32 nonce) view returns (bool)',
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)',
  'event Transfer(address indexed from, address indexed to, uint256 value)',
  'event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)',
  'event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce)',
]);

const KEY_SIGNATURE_BYTES = 65;
/** What a key's signature ends in. A contract wallet's may be as long and end otherwise (a Safe adds four). */
const KEY_RECOVERIES = new Set(['00', '01', '1b', '1c']);

/** Whether a signature has the shape that a key makes; every other one is a contract wallet's. */
export function isKeySignature(signature: Hex): boolean {
  return size(signature) === KEY_SIGNATURE_BYTES;
}

/** What a deployed contract wallet checks: an ERC-6492 wrapper is only for wallets that are not there yet. */
export function unwrapSignature(signature: Hex): Hex {
  return isErc6492Signature(signature) ? parseErc6492Signature(signature).signature : signature;
}

/** The call that moves the money. Every token has the `v, r, s` form; only newer ones take bytes. */
export function encodeTransfer(form: Eip3009Form): Hex {
  const { from, to, value, validAfter, validBefore, nonce } = form;
  const signature = unwrapSignature(form.signature);
  if (!isKeySignature(signature) || !KEY_RECOVERIES.has(signature.slice(-2))) {
    return encodeFunctionData({
      abi: tokenAbi,
      functionName: 'transferWithAuthorization',
      args: [from, to, value, validAfter, validBefore, nonce, signature],
    });
  }
  const { r, s, yParity } = parseSignature(signature);
  return encodeFunctionData({
    abi: tokenAbi,
    functionName: 'transferWithAuthorization',
    args: [from, to, value, validAfter, validBefore, nonce, 27 + yParity, r, s],
  });
}
