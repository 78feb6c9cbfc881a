import type { Config } from '../config.ts';
import type { wireStripe as WireStripe } from './stripe.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

export type WiredRails = {
  /** In the order in which they are offered. */
  all: readonly WiredRail[];
  stripe: ReturnType<typeof WireStripe> | undefined;
};

/**
 * Every rail that is configured: adding one is a folder, a file here, and a line below. Only these are loaded: their
 * SDKs take longer than everything else at a start.
 */
export async function wireRails(config: Config, parts: RailParts): Promise<WiredRails> {
  const { evm, tempo, stripe, lightning } = config;
  const [wiredEvm, wiredTempo, wiredStripe, wiredLightning] = await Promise.all([
    evm && import('./evm.ts').then(({ wireEvm }) => wireEvm(evm, parts)),
    tempo && import('./tempo.ts').then(({ wireTempo }) => wireTempo(tempo, parts)),
    stripe && import('./stripe.ts').then(({ wireStripe }) => wireStripe(stripe, parts)),
    lightning && import('./lightning.ts').then(({ wireLightning }) => wireLightning(lightning, parts)),
  ]);
  const all = [wiredEvm, wiredTempo, wiredStripe, wiredLightning].filter((rail) => rail !== undefined);
  return { all, stripe: wiredStripe };
}
