import { readContract } from 'viem/actions';
import type { RailBalance } from '../../rail.ts';
import type { TempoRailContext } from './context.ts';
import { unitOf } from './identity.ts';
import { tokenAbi } from './token.ts';

/** What the payee holds of the currency. Fees are the payers'. */
export async function readBalances(context: TempoRailContext, signal: AbortSignal): Promise<RailBalance[]> {
  const units = await readContract(context.client.within(signal), {
    ...{ address: context.currency, abi: tokenAbi, functionName: 'balanceOf' },
    args: [context.recipient],
  });
  const unit = unitOf(context);
  return [{ account: `A.tempo:${unit}`, unit, units }];
}
