import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { x402Facilitator } from '@x402/core/facilitator';
import type { PaymentPayload, PaymentRequirements } from '@x402/core/types';
import { toFacilitatorEvmSigner } from '@x402/evm';
import { ExactEvmScheme } from '@x402/evm/exact/facilitator';
import { createWalletClient, type Hex, http, publicActions, type VerifyTypedDataParameters } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';

/**
 * What happens to a request: it passes; the connection breaks before (`refuse`) or after (`swallow`) it took
 * effect; it fails with 500 before or after; it is never answered (`hold`); or this is the answer.
 */
export type FacilitatorFate =
  | 'pass'
  | 'refuse'
  | 'swallow'
  | 'fail-before'
  | 'fail-after'
  | 'hold'
  | { answer: unknown; status?: number; location?: string };

export type FacilitatorServer = {
  url: string;
  decide(fate: (path: string) => FacilitatorFate): void;
  count(path: string): number;
  /** What came with the last request, header names in lower case. */
  lastHeaders(): Record<string, unknown>;
  close(): Promise<void>;
};

/** The reference facilitator of the x402 packages behind HTTP, on a wallet of its own, that fails on demand. */
export async function startFacilitator(input: { rpcUrl: string; key: Hex }): Promise<FacilitatorServer> {
  const handle = createHandler(input);
  const counts = new Map<string, number>();
  let decide: (path: string) => FacilitatorFate = () => 'pass';
  let headers: Record<string, unknown> = {};

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    const body = await readBody(request);
    headers = request.headers;
    counts.set(path, (counts.get(path) ?? 0) + 1);
    const fate = decide(path);
    if (fate === 'hold') return;
    if (fate === 'refuse') return void response.destroy();
    if (fate === 'fail-before') return void response.writeHead(500).end('internal-host is down');
    response.setHeader('content-type', 'application/json');
    if (typeof fate === 'object') {
      if (fate.location !== undefined) response.setHeader('location', fate.location);
      return void response.writeHead(fate.status ?? 200).end(JSON.stringify(fate.answer));
    }
    const answer = await handle(path, body);
    if (fate === 'swallow') return void response.destroy();
    if (fate === 'fail-after') return void response.writeHead(500).end('internal-host is down');
    response.end(JSON.stringify(answer));
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    decide: (next) => {
      decide = next;
    },
    count: (path) => counts.get(path) ?? 0,
    lastHeaders: () => headers,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

type Body = { paymentPayload: PaymentPayload; paymentRequirements: PaymentRequirements };

function createHandler(input: { rpcUrl: string; key: Hex }) {
  const account = privateKeyToAccount(input.key);
  const wallet = createWalletClient({
    ...{ account, chain: baseSepolia, transport: http(input.rpcUrl), cacheTime: 0, pollingInterval: 20 },
  }).extend(publicActions);
  const signer = toFacilitatorEvmSigner({
    ...wallet,
    address: account.address,
    verifyTypedData: (typed) => wallet.verifyTypedData(asViem(typed)),
  });
  const facilitator = new x402Facilitator().register('eip155:84532', new ExactEvmScheme(signer));
  let queue: Promise<unknown> = Promise.resolve();
  return async (path: string, body: string): Promise<unknown> => {
    if (path === '/supported') return facilitator.getSupported();
    const { paymentPayload, paymentRequirements }: Body = JSON.parse(body);
    if (path === '/verify') return facilitator.verify(paymentPayload, paymentRequirements);
    // Its wallet takes one nonce at a time.
    const settled = queue.then(() => facilitator.settle(paymentPayload, paymentRequirements));
    queue = settled.catch(() => undefined);
    return settled;
  };
}

/** The packages type the same object in two ways: the scheme's own is wider. */
function asViem(typed: object): VerifyTypedDataParameters {
  return typed as VerifyTypedDataParameters;
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
