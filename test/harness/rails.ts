import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Rails, startRails } from '../../scripts/dev/rails.ts';
import { silentLog } from '../../src/core/log.ts';

/** Every rail, on folders of its own that are gone afterwards. */
export async function startTestRails(): Promise<Rails> {
  const dataDir = mkdtempSync(join(tmpdir(), 'millicent-rails-'));
  const rails = await startRails({ log: silentLog, dataDir });
  return {
    ...rails,
    async close() {
      await rails.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
