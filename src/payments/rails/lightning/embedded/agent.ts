import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { equalConstantTime } from '../../../../core/bytes.ts';
import { readAddress } from './address.ts';
import { listChannelsWith, openChannels, readBalanceMsat } from './channels.ts';
import type { LightningNode } from './node.ts';
import { isConnected, keepConnected } from './peers.ts';
import { Refusal } from './refusal.ts';
import type { RemoteChain } from './remote-chain.ts';
import type { Payer } from './send.ts';

/** An agent's wallet: pays any invoice for whoever knows its address, which holds the node's token. */
export type Agent = {
  /** Resolves when it has a channel it can pay through. */
  ready: Promise<void>;
  /** `POST /agent/<token>/pay` and `GET /agent/<token>/balance`; undefined for any other path. */
  route(request: {
    method: string;
    path: string;
    body: unknown;
  }): Promise<{ status: number; body: unknown }> | undefined;
  close(): void;
};

export type AgentDeps = {
  node: LightningNode;
  payer: Payer;
  remote: RemoteChain | undefined;
  gatewayFolder: string;
  token: string;
};

/** Ten bitcoin, half of them the gateway's from the start: it can pay out as much as it can receive. */
const CHANNEL_SATS = 1_000_000_000n;
const PUSH_MSAT = 500_000_000_000n;
const POLL_MS = 10;
/** A channel whose opening was cut short confirms with a further block. */
const POLLS_PER_BLOCK = 50;
const FEE_MAX_MSAT = 10_000n;
/** Longer than any hold. */
const PAY_TIMEOUT_MS = 600_000;

const paySchema = z.object({ invoice: z.string().max(4_096) });

export function createAgent(deps: AgentDeps): Agent {
  const { node, token, gatewayFolder } = deps;
  let isClosed = false;
  const disconnect = keepConnected(node, () => {
    const gateway = readAddress(gatewayFolder);
    return gateway && { id: gateway.nodeId, port: gateway.peerPort };
  });
  const ready = ensureChannel(deps, () => isClosed);
  return {
    ready,
    route: ({ method, path, body }) => {
      const [, prefix, given = '', verb] = path.split('/');
      if (prefix !== 'agent') return undefined;
      const isOurs = equalConstantTime(given, token);
      if (isOurs && verb === 'pay' && method === 'POST') return pay(deps.payer, body);
      if (isOurs && verb === 'balance' && method === 'GET') {
        return Promise.resolve({ status: 200, body: { msat: readBalanceMsat(node) } });
      }
      return Promise.resolve({ status: 404, body: { error: 'there is no such route' } });
    },
    close: () => {
      isClosed = true;
      disconnect();
    },
  };
}

async function pay(payer: Payer, body: unknown): Promise<{ status: number; body: unknown }> {
  const refuse = (error: string, status: number) => ({ status, body: { error } });
  const input = paySchema.safeParse(body);
  if (!input.success) return refuse('send {"invoice": "lnbcrt..."}', 400);
  try {
    const { invoice } = input.data;
    const timeout = AbortSignal.timeout(PAY_TIMEOUT_MS);
    const payment = await payer.pay(
      { invoice, feeMaxMsat: FEE_MAX_MSAT, timeoutMs: PAY_TIMEOUT_MS },
      timeout,
    );
    if (payment.kind === 'succeeded') {
      return { status: 200, body: { preimage: payment.preimage, feeMsat: payment.feeMsat } };
    }
    if (payment.kind === 'failed') return refuse(payment.reason, 409);
    return refuse('the payment is still under way', 504);
  } catch (error) {
    if (error instanceof Refusal) return refuse(error.message, 409);
    throw error;
  }
}

/** Opens the channel when there is none, and waits until it can be used. */
async function ensureChannel(
  { node, remote, gatewayFolder }: AgentDeps,
  isClosed: () => boolean,
): Promise<void> {
  const open = openChannels(node);
  for (let poll = 1; !isClosed(); poll += 1) {
    const gateway = readAddress(gatewayFolder);
    if (gateway !== undefined && remote !== undefined && isConnected(node, gateway.nodeId)) {
      const channels = listChannelsWith(node, gateway.nodeId);
      if (channels.some((channel) => channel.get_is_usable())) return;
      if (channels.length === 0) {
        open({ peerId: gateway.nodeId, sats: CHANNEL_SATS, pushMsat: PUSH_MSAT, fund: remote.fund });
      }
      if (poll % POLLS_PER_BLOCK === 0) await remote.mine(1);
    }
    await sleep(POLL_MS);
  }
}
