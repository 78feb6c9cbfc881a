import { encodeFunctionData, type Hex, parseAbi, parseEther, parseSignature, toHex } from 'viem';
import { z } from 'zod';
import type { Anvil } from '../harness/chain.ts';
import { waitUntil } from '../harness/process.ts';

const ABI = parseAbi([
  'function transfer(address to, uint256 value) returns (bool)',
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)',
]);
const hex = z.custom<Hex>((value) => typeof value === 'string' && /^0x[0-9a-f]+$/i.test(value));
const digits = z.string().transform((text) => BigInt(text));
const payloadSchema = z.object({
  payload: z.object({
    signature: hex,
    authorization: z.object({
      ...{ from: hex, to: hex, nonce: hex },
      ...{ value: digits, validAfter: digits, validBefore: digits },
    }),
  }),
});

const STRANGER = '0x00000000000000000000000000000000000057a2';
const GAS = toHex(300_000);
const FEE = { maxFeePerGas: toHex(100_000_000_000n), maxPriorityFeePerGas: toHex(50_000_000_000n) };

/** Somebody who read an authorization broadcasts it; answers the transaction's hash once it is mined. */
export async function broadcastForeign(anvil: Anvil, credential: Record<string, string>): Promise<Hex> {
  const header = Buffer.from(credential['PAYMENT-SIGNATURE'] ?? '', 'base64').toString();
  const { signature, authorization } = payloadSchema.parse(JSON.parse(header)).payload;
  const { from, to, value, validAfter, validBefore, nonce } = authorization;
  const { r, s, yParity } = parseSignature(signature);
  const args = [from, to, value, validAfter, validBefore, nonce, 27 + yParity, r, s] as const;
  const data = encodeFunctionData({ abi: ABI, functionName: 'transferWithAuthorization', args });
  const hash = await sendAs(anvil, STRANGER, data);
  await waitUntil(() => anvil.rpc('eth_getTransactionReceipt', [hash]));
  return hash;
}

/** Moves all of an address's tokens away, ahead of whatever else the next block takes. */
export async function drainFirst(anvil: Anvil, from: Hex, value: bigint): Promise<void> {
  const args = ['0x000000000000000000000000000000000000dEaD', value] as const;
  await sendAs(anvil, from, encodeFunctionData({ abi: ABI, functionName: 'transfer', args }));
}

async function sendAs(anvil: Anvil, from: Hex, data: Hex): Promise<Hex> {
  await anvil.rpc('anvil_setBalance', [from, toHex(parseEther('1'))]);
  await anvil.rpc('anvil_impersonateAccount', [from]);
  const transaction = { from, to: anvil.token, data, gas: GAS, ...FEE };
  return hex.parse(await anvil.rpc('eth_sendTransaction', [transaction]));
}
