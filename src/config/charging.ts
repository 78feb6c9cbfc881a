import { z } from 'zod';
import { BUCKETS } from '../core/ids.ts';

/**
 * Whether charges are cut so that a statement touches one bucket, which a distributed Postgres needs to send it to
 * one node. On one node that only makes batches smaller.
 */
export const chargingEnvironment = {
  CHARGE_SHARDS: z
    .enum(['1', String(BUCKETS)], `must be 1, or ${BUCKETS} to cut charges by bucket`)
    .default('1')
    .transform(Number),
};

export type ChargingConfig = { isCut: boolean };

export function readCharging(env: { CHARGE_SHARDS: number }): ChargingConfig {
  return { isCut: env.CHARGE_SHARDS > 1 };
}
