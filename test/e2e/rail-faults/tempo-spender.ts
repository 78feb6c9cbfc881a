import { encodeFunctionData, type Hex, parseAbi } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import type { TempoOffer } from '../../../src/payments/rail.ts';
import { waitUntil } from '../../harness/process.ts';
import type { Tempo } from '../../harness/tempo.ts';
import { signTransaction } from '../../payments/rails/tempo/sign.ts';
import { balanceOnTempo } from './payers.ts';

/** Anvil's first account: it holds the token already, so paying it takes little gas. */
const ELSEWHERE = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';
/** For the fee; what remains of it is too little for a call. */
const FEE_ROOM = 180n;
const CHEAP = { gas: 120_000n, maxFeePerGas: 1_500_000_000n };
const abi = parseAbi(['function transfer(address to, uint256 amount) returns (bool)']);

/** Sends a payer's money elsewhere. */
export async function spendOnTempo(tempo: Tempo, key: Hex): Promise<void> {
  // The fee falls with empty blocks.
  await tempo.rpc('anvil_mine', ['0x28']);
  const amount = (await balanceOnTempo(tempo, privateKeyToAddress(key))) - FEE_ROOM;
  const data = encodeFunctionData({ abi, functionName: 'transfer', args: [ELSEWHERE, amount] });
  const offer: TempoOffer = {
    ...{ kind: 'tempo', network: `eip155:${tempo.chainId}`, units: 0n },
    ...{ currency: tempo.currency, recipient: tempo.recipient },
  };
  const calls = [{ to: tempo.currency, data }];
  const hash = await tempo.rpc('eth_sendRawTransaction', [
    signTransaction(offer, { key, challengeId: '', calls, ...CHEAP }),
  ]);
  await waitUntil(() => tempo.rpc('eth_getTransactionReceipt', [hash]));
}
