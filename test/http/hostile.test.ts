import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectBalancedBooks } from '../e2e/surface.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw, type RawClient } from '../harness/raw-client.ts';

let database: TestDatabase;
let gateway: TestGateway;
let key: string;
const clients: RawClient[] = [];

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 4 });
  gateway = await startTestGateway({
    database,
    env: { CONNECTIONS_PER_ADDRESS_MAX: '40' },
    server: {
      headersTimeoutMs: 1_000,
      requestTimeoutMs: 2_000,
      readers: { stallMs: 2_000, stallBytesMin: 16 * 1024, waitingBytesMax: 64 * 1024 * 1024 },
    },
  });
  key = await gateway.mint(1_000_000);
});
afterAll(async () => {
  for (const { socket } of clients) socket.destroy();
  // Whatever was sent, the gateway serves the next caller, and nothing was charged that was not answered.
  expect((await gateway.fetch('/v1/health')).status).toBe(200);
  await expectBalancedBooks(gateway);
  await gateway.close();
  await database.close();
});

async function open(localAddress?: string): Promise<RawClient> {
  const client = await connectRaw(gateway.url, localAddress);
  clients.push(client);
  return client;
}

/** Sends it on a connection of its own, and gives the status of each answer until the connection ends. */
async function sendAll(text: string): Promise<number[]> {
  const client = await open();
  client.send(text);
  return statusesOf(await client.ended());
}

function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

const HOST = 'Host: x\r\n';
const bearer = () => `Authorization: Bearer ${key}\r\n`;
const CLOSE = 'Connection: close\r\n';

async function balance(): Promise<number> {
  const response = await gateway.fetch('/v1/balance', { headers: { authorization: `Bearer ${key}` } });
  return ((await response.json()) as { balance_mcents: number }).balance_mcents;
}

test('headers that trickle in are given up on, with 408', async () => {
  const client = await open();
  client.send('GET /v1/health HTTP/1.1\r\n');
  const drip = setInterval(() => client.send('X-Slow: 1\r\n'), 100);
  expect(statusesOf(await client.ended())).toEqual([408]);
  clearInterval(drip);
});

test('a connection that says nothing at all is closed', async () => {
  const client = await open();
  expect(statusesOf(await client.ended())).toEqual([408]);
});

test('a body that trickles in is given up on, and buys nothing', async () => {
  const before = await balance();
  const client = await open();
  client.send(
    `POST /v1/example HTTP/1.1\r\n${HOST}${bearer()}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`,
  );
  const drip = setInterval(() => client.send(' '), 100);
  expect(statusesOf(await client.ended())[0]).not.toBe(200);
  clearInterval(drip);
  expect(await balance()).toBe(before);
});

test('a request line of a megabyte is refused with 431', async () => {
  expect(await sendAll(`GET /${'a'.repeat(1024 * 1024)} HTTP/1.1\r\n${HOST}\r\n`)).toEqual([431]);
});

test('headers of more than 16 KiB are refused with 431', async () => {
  const many = Array.from({ length: 50 }, (_, index) => `X-${index}: ${'v'.repeat(500)}\r\n`).join('');
  expect(await sendAll(`GET /v1/health HTTP/1.1\r\n${HOST}${many}\r\n`)).toEqual([431]);
});

test('more than 100 headers are refused with 431 and none of them is dropped silently', async () => {
  const many = Array.from({ length: 100 }, (_, index) => `X-${index}: 1\r\n`).join('');
  expect(await sendAll(`GET /v1/health HTTP/1.1\r\n${HOST}${many}\r\n`)).toEqual([431]);
  const few = Array.from({ length: 98 }, (_, index) => `X-${index}: 1\r\n`).join('');
  expect(await sendAll(`GET /v1/health HTTP/1.1\r\n${HOST}${few}${CLOSE}\r\n`)).toEqual([200]);
});

test('what two servers would read as different requests is refused with 400', async () => {
  const smuggled = `GET /v1/example HTTP/1.1\r\n${HOST}${bearer()}\r\n`;
  const before = await balance();
  const ambiguous = [
    'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    'Content-Length: 5\r\nContent-Length: 6\r\n',
    'Content-Length: 5\r\nContent-Length: 5\r\n',
    'Content-Length: +5\r\n',
    'Content-Length: 0x5\r\n',
    'Content-Length: 5, 5\r\n',
    'Transfer-Encoding: chunked, identity\r\n',
    'Transfer-Encoding: xchunked\r\n',
    'Transfer-Encoding : chunked\r\n',
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n',
    'X: 1\nTransfer-Encoding: chunked\r\n',
    'X: 1\r\n Transfer-Encoding: chunked\r\n',
    ' X: 1\r\n',
  ];
  for (const headers of ambiguous) {
    const statuses = await sendAll(`POST /v1/signup HTTP/1.1\r\n${HOST}${headers}\r\n0\r\n\r\n${smuggled}`);
    expect([headers, statuses]).toEqual([headers, [400]]);
  }
  expect(await balance()).toBe(before);
});

test('chunks that lie about their length are refused', async () => {
  for (const chunk of ['zz\r\n', '-1\r\n', 'ffffffffffffffffff\r\n', '5\r\nabcdefgh\r\n']) {
    const statuses = await sendAll(
      `POST /v1/signup HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${chunk}`,
    );
    expect([chunk, statuses.every((status) => status >= 400 && status < 500)]).toEqual([chunk, true]);
  }
});

test('an expectation other than 100-continue is refused with 417, and that one is met or refused at once', async () => {
  expect(await sendAll(`GET /v1/health HTTP/1.1\r\n${HOST}Expect: miracles\r\n${CLOSE}\r\n`)).toEqual([417]);
  const client = await open();
  client.send(
    `POST /v1/signup HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n${CLOSE}\r\n`,
  );
  await client.until('HTTP/1.1 100 ');
  client.send('{}');
  expect(statusesOf(await client.ended())[0]).toBe(100);
});

test('HTTP/1.0 is answered with or without a host and its connection closed; HTTP/1.1 without one is refused', async () => {
  expect(await sendAll('GET /v1/health HTTP/1.0\r\n\r\n')).toEqual([200]);
  expect(await sendAll(`GET /v1/health HTTP/1.0\r\n${HOST}\r\n`)).toEqual([200]);
  expect(await sendAll('GET /v1/health HTTP/1.1\r\n\r\n')).toEqual([400]);
});

test('methods and versions that nobody serves cost a refusal and no more', async () => {
  for (const line of ['TRACE / HTTP/1.1', 'BREW /pot HTTP/1.1', 'GET / HTTP/9.9', 'PRI * HTTP/2.0']) {
    const client = await open();
    client.send(`${line}\r\n${HOST}${CLOSE}\r\n`);
    const statuses = statusesOf(await client.ended());
    expect([line, statuses.every((status) => status >= 400 && status < 500)]).toEqual([line, true]);
  }
});

test('a client that pipelines hundreds of calls is served a bounded number at a time, and pays for those it got', async () => {
  const before = await balance();
  const client = await open();
  client.send(`GET /v1/example HTTP/1.1\r\n${HOST}${bearer()}\r\n`.repeat(400));
  const statuses = statusesOf(await client.ended());
  const served = statuses.filter((status) => status === 200).length;
  expect(new Set(statuses)).toEqual(new Set([200, 503]));
  expect(served).toBeGreaterThanOrEqual(60);
  expect(before - (await balance())).toBeGreaterThanOrEqual(served * 100);
  // Nothing is asked of the gateway beyond the first, and those that wait behind it.
  expect(before - (await balance())).toBeLessThanOrEqual(80 * 100);
});

test('one address has a bounded number of connections; the next is told 503, and other addresses are served', async () => {
  for (const { socket } of clients) socket.destroy();
  await sleep(100);
  const held = await Promise.all(Array.from({ length: 60 }, () => open('127.0.0.2')));
  await waitUntil(() => held.filter((client) => client.isClosed()).length >= 20 || undefined);
  const refused = held.filter((client) => client.isClosed());
  for (const client of refused)
    expect(statusesOf(client.text()).every((status) => status === 503)).toBe(true);
  const other = await open('127.0.0.3');
  other.send(`GET /v1/health HTTP/1.1\r\n${HOST}${CLOSE}\r\n`);
  expect(statusesOf(await other.ended())).toEqual([200]);
});
