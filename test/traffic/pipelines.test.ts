import { once } from 'node:events';
import type { Server } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { createServer, drain, listen, type ServerOptions } from '../../src/server.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw } from '../harness/raw-client.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

type Work = { request: Request; finish(): void };

/** A server whose answers come when they are told to, and what it was asked to do. */
async function start(options: ServerOptions = {}) {
  const asked: Work[] = [];
  const server = createServer(
    (request) =>
      new Promise<Response>((done) => {
        asked.push({ request, finish: () => done(new Response('done')) });
      }),
    { loopDelayMaxMs: 0, ...options },
  );
  servers.push(server);
  const port = await listen(server, { host: '127.0.0.1', port: 0 });
  return { server, asked, url: `http://127.0.0.1:${port}` };
}

const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
const countOf = (text: string, status: number) => text.split(`HTTP/1.1 ${status} `).length - 1;

test('requests whose connection ends before their turn give back their places', async () => {
  const { asked, url } = await start({ inFlightMax: 60 });
  for (let round = 1; round <= 4; round += 1) {
    const client = await connectRaw(url);
    client.send(REQUEST.repeat(50));
    await waitUntil(() => asked.length === 50 * round || undefined);
    client.socket.destroy();
    await waitUntil(() => asked.slice(-50).every(({ request }) => request.signal.aborted) || undefined);
    for (const { finish } of asked) finish();
    await new Promise((done) => setTimeout(done, 20));
  }
});

test('what is asked behind the answer that ends a connection is not done', async () => {
  const { asked, url } = await start();
  const client = await connectRaw(url);
  const large = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc';
  // The 65th that waits is refused with the connection's last answer.
  client.send(REQUEST + large.repeat(64) + REQUEST.repeat(40));
  await waitUntil(() => asked.length === 65 || undefined);
  for (const { finish } of asked) finish();
  const text = await client.ended();
  expect([countOf(text, 200), countOf(text, 503)]).toEqual([65, 1]);
  expect(asked).toHaveLength(65);
});

test('a drain answers all that a connection has asked ahead, and does nothing that it will not answer', async () => {
  const { server, asked, url } = await start();
  const client = await connectRaw(url);
  client.send(REQUEST.repeat(10));
  await waitUntil(() => asked.length === 10 || undefined);
  const drained = drain(server);
  // What came by then is heard out.
  await waitUntil(() => !server.listening || undefined);
  client.send(REQUEST.repeat(5));
  const other = await connectRaw(url).catch(() => undefined);
  other?.socket.destroy();
  await new Promise((done) => setTimeout(done, 50));
  for (const { finish } of asked) finish();
  const text = await client.ended();
  expect([countOf(text, 200), asked.length]).toEqual([10, 10]);
  expect(text.match(/connection: close/gi)).toHaveLength(1);
  await drained;
});

test('a connection that was refused is not served whatever it had sent by then', async () => {
  const { asked, url } = await start({ connectionsMax: 1 });
  const first = await connectRaw(url);
  first.send(REQUEST);
  await waitUntil(() => asked.length === 1 || undefined);
  for (let count = 0; count < 50; count += 1) {
    const client = await connectRaw(url);
    client.send(REQUEST.repeat(3));
    expect(countOf(await client.ended(), 200)).toBe(0);
  }
  expect(asked).toHaveLength(1);
  asked[0]?.finish();
  await once(first.socket, 'data');
});

test('a request that was read is answered, and not by the refusal of what came behind it', async () => {
  const { asked, url } = await start({ headersTimeoutMs: 300, requestTimeoutMs: 600 });
  const broken = [
    'NONSENSE\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ',
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  ];
  for (const text of broken) {
    asked.length = 0;
    const client = await connectRaw(url);
    client.send(REQUEST.repeat(2) + text);
    await waitUntil(() => asked.length >= 2 || undefined);
    await new Promise((done) => setTimeout(done, 1_500));
    expect(client.text()).toBe('');
    for (const { finish } of asked) finish();
    const answer = await client.ended();
    expect([text, countOf(answer, 200), answer.split('HTTP/1.1 ').length]).toEqual([text, 2, 3]);
  }
});

test('who sends no request is told so in a whole answer, and its connection ends', async () => {
  const { url } = await start({ headersTimeoutMs: 300, requestTimeoutMs: 600 });
  for (const [text, status] of [
    ['NONSENSE\r\n\r\n', 400],
    ['', 408],
    ['GET / HTTP/1.1\r\n', 408],
    [`GET / HTTP/1.1\r\nX: ${'v'.repeat(20_000)}\r\n\r\n`, 431],
    [`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;${'e'.repeat(40_000)}\r\n`, 413],
  ] as const) {
    const client = await connectRaw(url);
    client.send(text);
    const [head = '', body = ''] = (await client.ended()).split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(head).toMatch(/\r\nconnection: close/);
    expect(head).toContain(`content-length: ${body.length}\r\n`);
    expect(JSON.parse(body)).toMatchObject({ ok: false, status, note: 'no charge applied' });
  }
});
