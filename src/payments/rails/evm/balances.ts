import { getBalance, readContract } from 'viem/actions';
import type { RailBalance } from '../../rail.ts';
import type { EvmPartContext } from './context.ts';
import { unitOf } from './identity.ts';
import { tokenAbi } from './token.ts';

/** What the payee holds of the token, and our wallet, where we have one, of the coin that pays for gas. */
export async function readBalances(
  context: EvmPartContext,
  input: { withGas: boolean },
  signal: AbortSignal,
): Promise<RailBalance[]> {
  const { network, asset, payTo, mover } = context;
  const rpc = context.client.within(signal);
  const [tokens, gas] = await Promise.all([
    readContract(rpc, { address: asset, abi: tokenAbi, functionName: 'balanceOf', args: [payTo] }),
    input.withGas && mover.wallet ? getBalance(rpc, { address: mover.wallet }) : undefined,
  ]);
  const unit = unitOf(context);
  return [
    { account: `A.evm:${unit}`, unit, units: tokens },
    ...(gas === undefined ? [] : [{ account: `A.gas:${network}`, unit: `${network}/wei`, units: gas }]),
  ];
}
