import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import {
  type Lightning,
  lightningFolders,
  startLightningNode,
  startLightning as startNodes,
} from '../../scripts/dev/lightning.ts';
import { silentLog } from '../../src/core/log.ts';
import { createEmbeddedProvider } from '../../src/payments/rails/lightning/embedded/index.ts';
import { ask } from '../../src/payments/rails/lightning/embedded/request.ts';
import type { LightningProvider } from '../../src/payments/rails/lightning/provider.ts';
import { waitUntil } from './process.ts';

export type Paid = { preimage: string } | { error: string };

export type TestLightning = Omit<Lightning, 'provider'> & {
  /** What `createEmbeddedProvider` takes. */
  provider: { url: string; token: string };
  /** The gateways' node, and the agent's: it mints invoices that can be paid out to. */
  node: LightningProvider;
  agentNode: LightningProvider;
  gatewayFolder: string;
  /** What the agent's payment came to: its preimage, or why nothing was paid. */
  pay(invoice: string): Promise<Paid>;
  /** Moves the chain on. */
  mine(blocks: number): Promise<void>;
  /** Kills the gateways' node at once, as a power cut would. */
  killNode(): Promise<void>;
  /** Starts it again on the same folder and port, and waits until it can be paid. */
  startNode(): Promise<void>;
};

const paidSchema = z.union([z.object({ preimage: z.string() }), z.object({ error: z.string() })]);
const TIMEOUT_MS = 60_000;

/** Two real nodes with a channel, in a folder that goes with them. */
export async function startLightning(): Promise<TestLightning> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millicent-lightning-'));
  const remove = () => rm(dataDir, { recursive: true, force: true });
  try {
    return await start(dataDir, remove);
  } catch (error) {
    await remove();
    throw error;
  }
}

async function start(dataDir: string, remove: () => Promise<void>): Promise<TestLightning> {
  const lightning = await startNodes({ dataDir, log: silentLog });
  const { gatewayFolder } = lightningFolders(dataDir);
  const node = createEmbeddedProvider(lightning.provider);
  let pid: number | undefined = lightning.pids.node;
  let killAgain = async () => {};
  const killNode = async () => {
    if (pid !== undefined) await killProcess(pid);
    pid = undefined;
  };
  return {
    ...lightning,
    node,
    agentNode: createEmbeddedProvider(lightning.agent),
    gatewayFolder,
    pay: async (invoice) => {
      const body = JSON.stringify({ invoice });
      const response = await fetch(lightning.payUrl, { method: 'POST', body });
      return paidSchema.parse(await response.json());
    },
    mine: async (blocks) => {
      const request = {
        method: 'POST',
        path: '/chain/mine',
        body: { blocks },
        timeoutMs: TIMEOUT_MS,
      } as const;
      await ask(lightning.provider, { ...request, answer: z.object({}) }, AbortSignal.timeout(TIMEOUT_MS));
    },
    killNode,
    startNode: async () => {
      const started = await startLightningNode({ folder: gatewayFolder, role: { kind: 'gateway' } });
      pid = started.child.pid;
      killAgain = started.child.kill;
      await waitUntil(() => node.health(AbortSignal.timeout(TIMEOUT_MS)));
    },
    close: async () => {
      await lightning.close();
      await killAgain();
      await remove();
    },
  };
}

async function killProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await waitUntil(() => !isAlive(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
