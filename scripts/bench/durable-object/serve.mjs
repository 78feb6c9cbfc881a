import { join } from 'node:path';
import { Miniflare } from 'miniflare';

/** Serves the Worker as its simulator does best: no proxy before it, no log, storage in files. */
const miniflare = new Miniflare({
  name: 'template',
  modules: true,
  scriptPath: join(import.meta.dirname, 'worker.mjs'),
  compatibilityDate: '2026-07-01',
  durableObjects: { LEDGER: { className: 'Ledger', useSQLite: true } },
  durableObjectsPersist: process.env.STORAGE_DIR,
  unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
});
await miniflare.ready;
const { origin } = await miniflare.unsafeGetDirectURL('template');
process.send?.({ kind: 'ready', url: origin });
process.on('SIGTERM', () => miniflare.dispose().then(() => process.exit(0)));
process.on('disconnect', () => process.exit(0));
