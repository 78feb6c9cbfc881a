import type { Config } from '../config.ts';
import { wireEvm } from './evm.ts';
import { wireLightning } from './lightning.ts';
import { wireStripe } from './stripe.ts';
import { wireTempo } from './tempo.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

export type WiredRails = {
  /** In the order in which they are offered. */
  all: readonly WiredRail[];
  stripe: ReturnType<typeof wireStripe> | undefined;
};

/** Every rail that is configured: adding one is a folder, a file here, and a line below. */
export async function wireRails(config: Config, parts: RailParts): Promise<WiredRails> {
  const evm = config.evm && wireEvm(config.evm, parts);
  const tempo = config.tempo && wireTempo(config.tempo, parts);
  const stripe = config.stripe && wireStripe(config.stripe, parts);
  const lightning = config.lightning && (await wireLightning(config.lightning, parts));
  return { all: [evm, tempo, stripe, lightning].filter((rail) => rail !== undefined), stripe };
}
