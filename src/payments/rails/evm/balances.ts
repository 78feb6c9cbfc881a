import { getBalance, readContract } from 'viem/actions';
import type { RailBalance } from '../../rail.ts';
import type { EvmRailContext } from './context.ts';
import { unitOf } from './identity.ts';
import { tokenAbi } from './token.ts';

/** What the payee holds of the token, and the wallet of the coin that pays for gas. */
export async function readBalances(context: EvmRailContext, signal: AbortSignal): Promise<RailBalance[]> {
  const { network, asset, payTo, writer } = context;
  const rpc = context.client.within(signal);
  const [tokens, gas] = await Promise.all([
    readContract(rpc, { address: asset, abi: tokenAbi, functionName: 'balanceOf', args: [payTo] }),
    getBalance(rpc, { address: writer.address }),
  ]);
  const unit = unitOf(context);
  return [
    { account: `A.evm:${unit}`, unit, units: tokens },
    { account: `A.gas:${network}`, unit: `${network}/wei`, units: gas },
  ];
}
