import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { Log } from '../../src/core/log.ts';
import { addressSchema } from '../../src/payments/rails/lightning/embedded/api.ts';
import { type BoundChild, spawnBound } from './bound-child.ts';
import { prepareNodeProgram } from './lightning-program.ts';

/** A Lightning node for the gateways of this machine, and an agent's own with a channel to it. */
export type Lightning = {
  /** For `createEmbeddedProvider`. */
  provider: { url: string; token: string };
  /** `POST payUrl {"invoice": "lnbcrt..."}` makes the agent pay and answers `{"preimage"}`. */
  payUrl: string;
  /** What the agent owns in its channel. */
  agentBalance(): Promise<bigint>;
  /** The agent's node as a provider: it can be paid too. */
  agent: { url: string; token: string };
  pids: { node: number; agent: number };
  close(): Promise<void>;
};

export type LightningOptions = { dataDir: string; log: Log };

const START_TIMEOUT_MS = 60_000;
const ASK_TIMEOUT_MS = 10_000;

const balanceSchema = z.object({ msat: z.stringFormat('msat', /^[0-9]+$/) });
const saidSchema = z.union([
  addressSchema.extend({ payUrl: z.string().optional() }),
  z.object({ error: z.string() }),
]);

/** Starts both nodes on their folders below `dataDir`; they end with this process, however that ends. */
export async function startLightning(options: LightningOptions): Promise<Lightning> {
  const { gatewayFolder, agentFolder } = lightningFolders(options.dataDir);
  // Made before the two ask for it at once.
  await prepareNodeProgram();
  // At once, because each takes its time to load LDK; the agent waits for the other.
  const [node, agent] = await startAll([
    { folder: gatewayFolder, role: { kind: 'gateway' } },
    { folder: agentFolder, role: { kind: 'agent', gatewayFolder } },
  ]);
  const payUrl = agent.address.payUrl ?? '';
  options.log.info({ url: node.address.url, pid: node.child.pid }, 'the lightning nodes are ready');
  return {
    provider: { url: node.address.url, token: node.address.token },
    payUrl,
    agentBalance: async () => {
      const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
      const response = await fetch(new URL('balance', payUrl), { signal });
      return BigInt(balanceSchema.parse(await response.json()).msat);
    },
    agent: { url: agent.address.url, token: agent.address.token },
    pids: { node: node.child.pid, agent: agent.child.pid },
    close: async () => {
      await Promise.all([node.child.kill(), agent.child.kill()]);
    },
  };
}

/** Where each node keeps all that it is. */
export function lightningFolders(dataDir: string) {
  return {
    gatewayFolder: join(dataDir, 'lightning', 'node'),
    agentFolder: join(dataDir, 'lightning', 'agent'),
  };
}

export type NodeOptions = {
  folder: string;
  role: { kind: 'gateway' } | { kind: 'agent'; gatewayFolder: string };
};

export type LightningProcess = {
  child: BoundChild;
  address: z.infer<typeof addressSchema> & { payUrl?: string | undefined };
};

/** Starts the process of one node and waits until it can be used. */
export async function startLightningNode(options: NodeOptions): Promise<LightningProcess> {
  const child = await spawnBound({
    command: process.execPath,
    args: [...(await prepareNodeProgram()), JSON.stringify(options)],
  });
  try {
    return { child, address: await waitForAddress(child) };
  } catch (error) {
    await child.kill();
    throw error;
  }
}

/** Both or none. */
async function startAll(options: [NodeOptions, NodeOptions]): Promise<[LightningProcess, LightningProcess]> {
  const [first, second] = options;
  const started = [startLightningNode(first), startLightningNode(second)] as const;
  try {
    return await Promise.all(started);
  } catch (error) {
    for (const one of await Promise.allSettled(started)) {
      if (one.status === 'fulfilled') await one.value.child.kill();
    }
    throw error;
  }
}

function waitForAddress(child: BoundChild): Promise<LightningProcess['address']> {
  const lines = createInterface({ input: child.stdout });
  return new Promise((done, reject) => {
    const timer = setTimeout(
      () => reject(new Error('the lightning node did not start in time')),
      START_TIMEOUT_MS,
    );
    const end = (work: () => void) => {
      clearTimeout(timer);
      work();
    };
    child.exited.then(() => end(() => reject(new Error('the lightning node ended before it was ready'))));
    lines.on('line', (line) => {
      // LDK greets in words of its own.
      if (!line.startsWith('{')) return;
      const said = saidSchema.parse(JSON.parse(line));
      if ('error' in said) end(() => reject(new Error(`the lightning node: ${said.error}`)));
      else end(() => done(said));
    });
  });
}
