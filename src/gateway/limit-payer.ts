import { tooMany } from '../traffic/index.ts';
import type { GatewayDeps } from './deps.ts';

/**
 * Takes a token of whoever signed a payment that was not used before. The payment stays unused by the refusal:
 * the same one pays when it is sent again. Never asked about money that has arrived, nor about a retry.
 */
export function limitPayer({ traffic }: GatewayDeps, payer: string): void {
  const left = traffic.payer.take(payer);
  if (left < 0) throw tooMany(traffic.payer, -left);
}
