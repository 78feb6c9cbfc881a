import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, expect, test } from 'vitest';
import { download } from '../../src/cli/verify/http.ts';
import { fetchBytes } from '../../src/provenance/witness/fetch-bytes.ts';

let server: Server;
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

async function serve(answer: Parameters<typeof createServer>[1]): Promise<string> {
  server = createServer(answer);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const signal = new AbortController().signal;
const asks = {
  download: (url: string) => download(url, { bytesMax: 1_000, timeoutMs: 1_500, signal }),
  fetchBytes: (url: string) => fetchBytes({ url, bytesMax: 1_000, timeoutMs: 1_500 }, signal),
};

test.each(Object.entries(asks))(
  '%s ends in time whatever the collector takes, beside a body that drips and an answer that never begins',
  async (_, ask) => {
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const collecting = setInterval(collect, 50);
    try {
      const url = await serve((request, response) => {
        if (request.url === '/silent') return;
        response.writeHead(200);
        const drip = setInterval(() => response.write(' '), 100);
        response.on('close', () => clearInterval(drip));
      });
      const endings = [ask(url), ask(`${url}silent`)].map((one) =>
        expect(one).rejects.toThrow('within 1500'),
      );
      await Promise.all(endings);
    } finally {
      clearInterval(collecting);
    }
  },
  10_000,
);

test.each(Object.entries(asks))('%s takes nothing beyond its bound', async (_, ask) => {
  const url = await serve((__, response) => response.end('x'.repeat(1_001)));
  await expect(ask(url)).rejects.toThrow('more than 1000 bytes');
});
