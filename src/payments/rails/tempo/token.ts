import { decodeFunctionData, encodeEventTopics, encodeFunctionData, type Hex, parseAbi } from 'viem';
import { toLowerHex } from './transaction.ts';

/** What we use of a TIP-20 token. */
export const tokenAbi = parseAbi([
  'function balanceOf(address account) view returns (uint256)',
  'function transferWithMemo(address to, uint256 amount, bytes32 memo)',
  'event TransferWithMemo(address indexed from, address indexed to, uint256 amount, bytes32 indexed memo)',
]);

export const [TRANSFER_WITH_MEMO] = encodeEventTopics({ abi: tokenAbi, eventName: 'TransferWithMemo' });

export type MemoTransfer = { to: Hex; amount: bigint; memo: Hex };

/** The transfer that call data asks for; undefined when it asks for anything else. */
export function decodeMemoTransfer(data: Hex): MemoTransfer | undefined {
  try {
    const { functionName, args } = decodeFunctionData({ abi: tokenAbi, data });
    if (functionName !== 'transferWithMemo') return undefined;
    // A decoder overlooks what comes after the arguments; encoded again, nothing may be left over.
    if (encodeFunctionData({ abi: tokenAbi, functionName, args }).toLowerCase() !== data) return undefined;
    const [to, amount, memo] = args;
    return { to: toLowerHex(to), amount, memo: toLowerHex(memo) };
  } catch {
    return undefined;
  }
}
