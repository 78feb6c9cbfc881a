import type { LightningConfig } from '../config/lightning.ts';
import { createInvoices } from '../payments/index.ts';
import { startLightning } from '../payments/rails/lightning/index.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

/** The lightning rail over its node, with the exchange rate and the node's health looked at in the background. */
export async function wireLightning(config: LightningConfig, parts: RailParts): Promise<WiredRail> {
  const { sql, secrets, clock, log } = parts;
  const { rail, trouble, close } = await startLightning(
    { invoices: createInvoices({ sql, secrets }), clock, log },
    config,
  );
  const health = () => {
    const why = trouble();
    return { lightning: why === undefined ? 'ok' : `down: ${why}` };
  };
  return { rail, jobs: [], health, close };
}
