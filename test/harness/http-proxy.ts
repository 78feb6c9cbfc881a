import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What happens to a request: as in `test/chain/rpc-proxy.ts`, for services that are asked by path. */
export type HttpFate = 'pass' | 'refuse' | 'swallow' | 'hold';

export type HttpProxy = {
  url: string;
  /** Decides the fate of each request by its method and path, from now on. */
  decide(fate: (request: string) => HttpFate): void;
  close(): Promise<void>;
};

const TIMEOUT_MS = 60_000;

/** A service that fails on demand, in front of a real one. */
export async function startHttpProxy(target: string): Promise<HttpProxy> {
  let decide: (request: string) => HttpFate = () => 'pass';
  const server = createServer((request, response) => {
    forward(request, response).catch(() => response.destroy());
  });

  async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/' } = request;
    const body = await readBody(request);
    const fate = decide(`${method} ${url}`);
    if (fate === 'hold') return;
    if (fate === 'refuse') return void response.destroy();
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const { authorization = '' } = request.headers;
    const answer = await fetch(new URL(url, target), {
      ...{ method, headers: { authorization, 'content-type': 'application/json' } },
      ...(method === 'GET' ? {} : { body }),
      signal: AbortSignal.any([gone.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const text = await answer.text();
    if (fate === 'swallow') return void response.destroy();
    response.writeHead(answer.status, { 'content-type': 'application/json' });
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
