import { z } from 'zod';
import type { Millicents } from '../core/money.ts';
import { ConfigError } from './config-error.ts';
import { integer, mcents, url } from './fields.ts';

/** Tempo's own network; the test network is 42431. */
const CHAIN_ID_DEFAULT = 4_217;
/** Clients sign for 25 seconds and the protocol allows 30: a minute would have everybody pay before the run. */
const SETTLE_MARGIN_SECONDS_DEFAULT = 10;

/** Lower case, and typed as viem types it: the pattern has checked that it is hex. */
const asHex = (text: string) => text.toLowerCase() as `0x${string}`;
const address = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, 'must be an address')
  .transform(asHex);

export const tempoEnvironment = {
  TEMPO_RPC_URL: url.optional(),
  // Without a default, so that a chain id alone is seen to be half a configuration.
  TEMPO_CHAIN_ID: z
    .string()
    .regex(/^[1-9][0-9]{0,14}$/, 'must be a chain id')
    .transform(Number)
    .optional(),
  TEMPO_CURRENCY: address.optional(),
  TEMPO_RECIPIENT: address.optional(),
  TEMPO_MIN_MCENTS: mcents(100),
  TEMPO_SETTLE_MARGIN_SECONDS: integer(SETTLE_MARGIN_SECONDS_DEFAULT, 1, 3_600),
};

const environmentSchema = z.object(tempoEnvironment);
type TempoEnvironment = z.infer<typeof environmentSchema>;

export type TempoConfig = {
  rpcUrl: string;
  chainId: number;
  currency: `0x${string}`;
  recipient: `0x${string}`;
  amountMin: Millicents;
  settleMarginMs: number;
};

/** Undefined when nothing is set; half a rail is a `ConfigError` that names what is missing. */
export function readTempo(env: TempoEnvironment): TempoConfig | undefined {
  const { TEMPO_RPC_URL: rpcUrl, TEMPO_CURRENCY: currency, TEMPO_RECIPIENT: recipient } = env;
  const needed = { TEMPO_RPC_URL: rpcUrl, TEMPO_CURRENCY: currency, TEMPO_RECIPIENT: recipient };
  const missing = Object.entries(needed).flatMap(([name, value]) => (value ? [] : [name]));
  if (missing.length === Object.keys(needed).length && env.TEMPO_CHAIN_ID === undefined) return undefined;
  if (!rpcUrl || !currency || !recipient) {
    throw new ConfigError(`The tempo rail is half configured: ${missing.join(', ')} must be set too`);
  }
  return {
    ...{ rpcUrl, currency, recipient },
    chainId: env.TEMPO_CHAIN_ID ?? CHAIN_ID_DEFAULT,
    amountMin: env.TEMPO_MIN_MCENTS,
    settleMarginMs: env.TEMPO_SETTLE_MARGIN_SECONDS * 1000,
  };
}
