import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { type Clock, systemClock, toUnixSeconds } from '../../../../core/clock.ts';
import { readAddress, writeAddress } from './address.ts';
import { createAgent } from './agent.ts';
import type { ServiceAddress } from './api.ts';
import { openChain } from './chain.ts';
import { lockFolder } from './folder-lock.ts';
import { createApiServer } from './http-api.ts';
import { type LightningNode, openNode } from './node.ts';
import { listenForPeers, listenNear } from './peers.ts';
import { createReceiver } from './receive.ts';
import { createRemoteChain } from './remote-chain.ts';
import { createPayer } from './send.ts';
import { waitForCommit } from './wait.ts';

export type EmbeddedServiceOptions = {
  /** Everything the node is: made when it is not there. */
  folder: string;
  /**
   * `gateway` keeps the chain and receives for the gateways; `agent` lives on the chain of the node in
   * `gatewayFolder`, has a channel with it and pays for whoever asks.
   */
  role: { kind: 'gateway' } | { kind: 'agent'; gatewayFolder: string };
  /** NODE_ENV of the process. */
  environment: string | undefined;
  network: string;
  /** The node cannot go on; the process is to end. */
  fail: (cause: unknown) => void;
};

export type EmbeddedService = {
  address: ServiceAddress;
  /** Where the agent pays invoices; only an agent has it. */
  payUrl: string | undefined;
  /** Resolves when payments can be made: at once for a gateway, with a channel for an agent. */
  ready: Promise<void>;
  close(): Promise<void>;
};

/** Runs one node with its HTTP API in this process, under the lock of its folder. */
export async function startEmbeddedService(options: EmbeddedServiceOptions): Promise<EmbeddedService> {
  if (options.environment === 'production') {
    throw new Error('the embedded Lightning node is for development: NODE_ENV is production');
  }
  if (options.network !== 'regtest') {
    throw new Error(`the embedded Lightning node runs on regtest only, not on ${options.network}`);
  }
  const unlock = await lockFolder(options.folder);
  const { folder, role } = options;
  const parts = role.kind === 'gateway' ? await openGateway(options) : await openAgentNode(options, role);
  const { node } = parts;
  const last = readAddress(folder);
  const token = last?.token ?? randomBytes(24).toString('hex');
  const peers = await listenForPeers(node, last?.peerPort ?? 0);
  const agent = role.kind === 'agent' ? createAgent({ ...parts, ...role, token }) : undefined;
  const server = createApiServer({ ...parts, token, agent });
  const port = await listenNear(server, last === undefined ? 0 : Number(new URL(last.url).port));
  const url = `http://127.0.0.1:${port}`;
  const address = { url, token, nodeId: node.id, peerPort: peers.port, pid: process.pid };
  writeAddress(folder, address);
  return {
    address,
    payUrl: agent && `${url}/agent/${token}/pay`,
    ready: agent?.ready ?? Promise.resolve(),
    close: async () => {
      agent?.close();
      peers.close();
      await closeServer(server);
      node.close();
      parts.close();
      unlock();
    },
  };
}

const clock: Clock = systemClock;
const nowSeconds = () => toUnixSeconds(clock.now());

async function openGateway({ folder, fail }: EmbeddedServiceOptions) {
  const chain = openChain({ path: join(folder, 'chain'), nowSeconds });
  const node = await openNode({ folder, chain, nowSeconds, fail });
  const receiver = createReceiver({
    ...{ node, clock },
    chainSeconds: chain.time,
    refreshChain: async () => chain.mine(1),
  });
  return { node, receiver, payer: createPayer({ node, clock }), chain, remote: undefined, close: () => {} };
}

async function openAgentNode({ folder, fail }: EmbeddedServiceOptions, role: { gatewayFolder: string }) {
  const remote = createRemoteChain(() => readAddress(role.gatewayFolder));
  let chainSeconds = 0;
  const follow: typeof remote.follow = (after, onBlock) =>
    remote.follow(after, (block) => {
      chainSeconds = block.time;
      onBlock(block);
    });
  const node = await openNode({ folder, chain: { ...remote, follow }, nowSeconds, fail });
  const receiver = createReceiver({
    ...{ node, clock },
    chainSeconds: () => chainSeconds,
    refreshChain: () => mineAndSee(node, remote.mine),
  });
  const payer = createPayer({ node, clock });
  return { node, receiver, payer, chain: undefined, remote, close: remote.close };
}

const SEE_BLOCK_MAX_MS = 5_000;

async function mineAndSee(node: LightningNode, mine: (blocks: number) => Promise<void>): Promise<void> {
  const before = node.height();
  await mine(1);
  const isSeen = () => node.height() > before || undefined;
  await waitForCommit(node, isSeen, AbortSignal.timeout(SEE_BLOCK_MAX_MS));
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
