import type { LightningConfig } from '../config/lightning.ts';
import { addMs } from '../core/clock.ts';
import { createInvoices } from '../payments/index.ts';
import { startLightning } from '../payments/rails/lightning/index.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

/** Every challenge mints an invoice and few are paid: the rest is forgotten after a week. */
const UNPAID_KEPT_MS = 7 * 86_400_000;
const PRUNE_EVERY_MS = 60_000;
/** More than the mints a minute that are allowed by default. */
const PRUNED_AT_ONCE = 5_000;

/** The lightning rail over its node, with the exchange rate and the node's health looked at in the background. */
export async function wireLightning(config: LightningConfig, parts: RailParts): Promise<WiredRail> {
  const { sql, secrets, clock, log } = parts;
  const invoices = createInvoices({ sql, secrets });
  const { rail, trouble, close } = await startLightning({ invoices, clock, log }, config);
  const health = () => {
    const why = trouble();
    return { lightning: why === undefined ? 'ok' : `down: ${why}` };
  };
  const prune = async () => {
    await invoices.prune({ expiredBefore: addMs(clock.now(), -UNPAID_KEPT_MS), rowsMax: PRUNED_AT_ONCE });
  };
  return { rail, jobs: [{ name: 'prune-invoices', everyMs: PRUNE_EVERY_MS, run: prune }], health, close };
}
