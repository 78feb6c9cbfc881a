import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';

/**
 * What happens to a call: it passes; it never reaches the node (`refuse`); the node takes it and the answer is
 * lost (`swallow`); the node answers with its own trouble (`trouble`); it waits for ever (`hold`); or this is the node's result or error.
 */
export type Fate =
  | 'pass'
  | 'refuse'
  | 'swallow'
  | 'trouble'
  | 'hold'
  | { result: unknown }
  | { error: { code: number; message: string } };

export type RpcProxy = {
  url: string;
  /** Decides the fate of each call by its JSON-RPC method, from now on. */
  decide(fate: (method: string) => Fate): void;
  /** How often a method was called, whatever its fate. */
  count(method: string): number;
  close(): Promise<void>;
};

const callSchema = z.object({ id: z.unknown(), method: z.string() });

/** A JSON-RPC node that fails on demand, in front of a real one. */
export async function startRpcProxy(target: string): Promise<RpcProxy> {
  const counts = new Map<string, number>();
  let decide: (method: string) => Fate = () => 'pass';
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const { id, method } = callSchema.parse(JSON.parse(body));
    counts.set(method, (counts.get(method) ?? 0) + 1);
    const fate = decide(method);
    if (fate === 'hold') return;
    if (fate === 'refuse') return void response.destroy();
    response.setHeader('content-type', 'application/json');
    if (fate === 'trouble') {
      const error = { code: -32603, message: 'node trouble at internal-host:8545' };
      return void response.end(JSON.stringify({ jsonrpc: '2.0', id, error }));
    }
    if (typeof fate === 'object') return void response.end(JSON.stringify({ jsonrpc: '2.0', id, ...fate }));
    const answer = await fetch(target, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: AbortSignal.timeout(10_000),
    });
    const text = await answer.text();
    if (fate === 'swallow') return void response.destroy();
    response.end(text);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    decide: (next) => {
      decide = next;
    },
    count: (method) => counts.get(method) ?? 0,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
