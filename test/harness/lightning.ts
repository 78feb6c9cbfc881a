import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type Lightning, startLightning as start } from '../../scripts/dev/lightning.ts';
import { silentLog } from '../../src/core/log.ts';

export type TestLightning = Lightning & {
  /** What the agent's payment came to: its preimage, or why nothing was paid. */
  pay(invoice: string): Promise<{ preimage: string } | { error: string }>;
};

const paidSchema = z.union([z.object({ preimage: z.string() }), z.object({ error: z.string() })]);

/** Two real nodes with a channel, in a folder that goes with them. */
export async function startLightning(): Promise<TestLightning> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millicent-lightning-'));
  const remove = () => rm(dataDir, { recursive: true, force: true });
  try {
    const lightning = await start({ dataDir, log: silentLog });
    return {
      ...lightning,
      pay: async (invoice) => {
        const response = await fetch(lightning.payUrl, { method: 'POST', body: JSON.stringify({ invoice }) });
        return paidSchema.parse(await response.json());
      },
      close: async () => {
        await lightning.close();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
