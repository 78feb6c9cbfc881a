import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { addMs, type Clock } from '../../src/core/clock.ts';
import { waitUntil } from '../harness/process.ts';
import {
  callTool,
  DISCOVERED,
  LIMITS,
  makeRemote,
  SERVER_ID,
  startEndpoint,
  startModern,
  startScripted,
  textOf,
} from './remote-harness.ts';

const open: { close(): Promise<void> }[] = [];
const keep = <T extends { close(): Promise<void> }>(thing: T): T => {
  open.push(thing);
  return thing;
};
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const JSON_TYPE = { 'content-type': 'application/json' };
const SSE_TYPE = { 'content-type': 'text/event-stream' };
const result = (id: number | undefined, text = 'ok') => ({
  ...{ jsonrpc: '2.0', id, result: { content: [{ type: 'text', text }] } },
});
const event = (message: object) => `data: ${JSON.stringify(message)}\n\n`;
const QUICK = { ...LIMITS, runTimeoutMs: 400 };

test('a body without end is cut off at the cap', async () => {
  const endpoint = keep(
    await startModern((_, response) => {
      response.writeHead(200, JSON_TYPE);
      const write = () => {
        while (!response.destroyed && response.write(' '.repeat(64 * 1024)));
      };
      response.on('drain', write);
      write();
    }),
  );
  const answer = await callTool(keep(makeRemote()), endpoint.url, 'x');
  expect(answer).toMatchObject({ kind: 'failed', reason: 'output-too-large' });
});

test("a slow drip ends at the call's own deadline, and so does a stream that never ends", async () => {
  const remote = keep(makeRemote());
  for (const [type, piece] of [
    [JSON_TYPE, ' '],
    [SSE_TYPE, ': still here\n\n'],
  ] as const) {
    const endpoint = keep(
      await startModern((_, response) => {
        response.writeHead(200, type);
        const timer = setInterval(() => response.write(piece), 20);
        response.on('close', () => clearInterval(timer));
      }),
    );
    await callTool(remote, endpoint.url, 'warm', {}, { limits: QUICK });
    const startedAt = performance.now();
    const answer = await callTool(remote, endpoint.url, 'x', {}, { limits: QUICK });
    expect(answer).toMatchObject({ kind: 'failed', reason: 'timeout' });
    expect(performance.now() - startedAt).toBeLessThan(QUICK.runTimeoutMs + 300);
  }
});

test('a server that never answers at all ends at the deadline, and the connection with it', async () => {
  let isClosed = false;
  const endpoint = keep(
    await startModern((_, response) => {
      response.on('close', () => {
        isClosed = true;
      });
    }),
  );
  const answer = await callTool(keep(makeRemote()), endpoint.url, 'x', {}, { limits: QUICK });
  expect(answer).toMatchObject({ kind: 'failed', reason: 'timeout' });
  await waitUntil(() => isClosed);
});

test('headers that are too large are refused', async () => {
  const endpoint = keep(
    await startModern(({ id }, response) => {
      response.setHeader('x-large', 'x'.repeat(40_000));
      return result(id);
    }),
  );
  expect(await callTool(keep(makeRemote()), endpoint.url, 'x')).toMatchObject({
    ...{ kind: 'failed', reason: 'protocol', detail: 'The server sent headers that are too large.' },
  });
});

test('a redirect, to the metadata service or anywhere, is never followed', async () => {
  for (const location of ['http://169.254.169.254/latest/meta-data/', '/elsewhere']) {
    for (const status of [301, 302, 307, 308]) {
      const endpoint = keep(
        await startEndpoint((_, response) => void response.writeHead(status, { location }).end()),
      );
      const answer = await callTool(keep(makeRemote()), endpoint.url, 'x');
      expect(answer).toMatchObject({ kind: 'failed', reason: 'protocol' });
      expect(textOf(answer)).toMatch(/redirects are not followed/);
      expect(endpoint.seen).toHaveLength(1);
    }
  }
});

test('a small answer that unpacks to a large one is cut off at the cap, as it unpacks', async () => {
  const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024, ' '));
  expect(bomb.length).toBeLessThan(300_000);
  const endpoint = keep(
    await startModern((_, response) => {
      response.writeHead(200, { ...JSON_TYPE, 'content-encoding': 'gzip' }).end(bomb);
    }),
  );
  const before = process.memoryUsage().rss;
  const limits = { ...LIMITS, outputBytesMax: 1024 * 1024 };
  const answer = await callTool(keep(makeRemote()), endpoint.url, 'x', {}, { limits });
  expect(answer).toMatchObject({ kind: 'failed', reason: 'output-too-large' });
  expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
});

test('an answer in a content-encoding that was not asked for is read all the same, or refused by name', async () => {
  const pack = {
    gzip: gzipSync,
    br: brotliCompressSync,
    zap: (bytes: Buffer) => bytes,
    'gzip ': Buffer.from,
  };
  const answers = [];
  for (const [encoding, compress] of Object.entries(pack)) {
    const endpoint = keep(
      await startModern(({ id }, response) => {
        response.writeHead(200, { ...JSON_TYPE, 'content-encoding': encoding });
        response.end(compress(Buffer.from(JSON.stringify(result(id)))));
      }),
    );
    const answer = await callTool(keep(makeRemote()), endpoint.url, 'x');
    answers.push(answer.kind === 'failed' ? answer.detail : textOf(answer));
  }
  expect(answers).toEqual([
    'ok',
    'ok',
    'The server used a content-encoding that we did not ask for.',
    'The server sent a body that does not decode.',
  ]);
});

test('an answer to something else, a second answer, and what is no message are `protocol`', async () => {
  const deep = `${'['.repeat(200)}${']'.repeat(200)}`;
  const bodies: [type: object, body: (id: number) => string | Buffer][] = [
    [JSON_TYPE, (id) => JSON.stringify(result(id + 1))],
    [JSON_TYPE, (id) => JSON.stringify(result(undefined)) + id * 0],
    [JSON_TYPE, (id) => JSON.stringify({ ...result(id), error: { code: 1, message: 'both' } })],
    [JSON_TYPE, (id) => JSON.stringify({ id, result: {} })],
    [JSON_TYPE, (id) => JSON.stringify([result(id)])],
    [JSON_TYPE, () => '<html>'],
    [JSON_TYPE, () => ''],
    [JSON_TYPE, () => Buffer.from([0x22, 0xff, 0x22])],
    [JSON_TYPE, (id) => `{"jsonrpc":"2.0","id":${id},"result":{"x":${deep}}}`],
    [JSON_TYPE, (id) => `{"jsonrpc":"2.0","id":${id},"result":{"__proto__":{"admin":true}}}`],
    [JSON_TYPE, () => JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: {} })],
    [SSE_TYPE, (id) => event(result(id + 1))],
    [SSE_TYPE, (id) => event(result(id, 'first')) + event(result(id, 'second'))],
    [SSE_TYPE, () => 'data: {"jsonrpc":\n\n'],
    [SSE_TYPE, (id) => event({ jsonrpc: '1.0', id, result: {} })],
    [{ 'content-type': 'text/plain' }, (id) => JSON.stringify(result(id))],
  ];
  let [body] = bodies;
  const endpoint = keep(
    await startModern(({ id }, response) => {
      response.writeHead(200, { ...body?.[0] }).end(body?.[1](id ?? 0));
    }),
  );
  const remote = keep(makeRemote());
  for (body of bodies) {
    const answer = await callTool(remote, endpoint.url, 'x');
    expect(answer, String(body[1](1))).toMatchObject({ kind: 'failed', reason: 'protocol' });
    if (answer.kind === 'failed') expect(Buffer.byteLength(answer.detail)).toBeLessThanOrEqual(512);
  }
  expect(remote.health()[endpoint.url]?.state).toBe('closed');
});

test('a stream is read whatever its line ends and however it is cut', async () => {
  const streams = [
    (json: string) => `\ufeff: hello\nevent: message\nid: 1\ndata: ${json}\n\n`,
    (json: string) => `data:${json}\r\n\r\n`,
    (json: string) =>
      `event: other\ndata: {"no":1}\n\n${json.replace(/^(.)(.*)$/, 'data: $1\ndata: $2')}\n\n`,
  ];
  let stream = streams[0];
  const endpoint = keep(
    await startModern(async ({ id }, response) => {
      response.writeHead(200, SSE_TYPE);
      const bytes = Buffer.from(stream?.(JSON.stringify(result(id, 'größe'))) ?? '');
      for (const byte of bytes) {
        response.write(Buffer.of(byte));
        await new Promise(setImmediate);
      }
      response.end();
    }),
  );
  for (stream of streams) {
    expect(textOf(await callTool(keep(makeRemote()), endpoint.url, 'x'))).toBe('größe');
  }
});

test('a server may not ask without end', async () => {
  const endpoint = keep(
    await startModern((_, response) => {
      response.writeHead(200, SSE_TYPE);
      for (let id = 0; id < 100; id += 1) response.write(event({ jsonrpc: '2.0', id, method: 'ping' }));
    }),
  );
  expect(await callTool(keep(makeRemote()), endpoint.url, 'x')).toMatchObject({
    ...{ kind: 'failed', reason: 'protocol', detail: 'The server asks too much of us.' },
  });
});

test('a connection that breaks is `crashed`, and is not tried again: nobody knows whether the tool ran', async () => {
  const endpoint = keep(await startModern((_, response) => void response.destroy()));
  const halfway = keep(
    await startModern(({ id }, response) => {
      response.writeHead(200, { ...JSON_TYPE, 'content-length': '1000' });
      response.write(JSON.stringify(result(id)).slice(0, 10));
      setTimeout(() => response.destroy(), 20);
    }),
  );
  const ended = keep(
    await startModern((_, response) => void response.writeHead(200, SSE_TYPE).end(': bye\n\n')),
  );
  const remote = keep(makeRemote());
  for (const { url, seen } of [endpoint, halfway, ended]) {
    expect(await callTool(remote, url, 'x')).toMatchObject({ kind: 'failed', reason: 'crashed' });
    expect(seen.filter(({ rpc }) => rpc === 'tools/call')).toHaveLength(1);
  }
});

test('what is not HTTP is `protocol`', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port } = server.address() as AddressInfo;
  const answer = await callTool(keep(makeRemote()), `http://127.0.0.1:${port}/`, 'x');
  server.close();
  expect(answer).toMatchObject({
    kind: 'failed',
    reason: 'protocol',
    detail: 'The server sent something that is not HTTP.',
  });
});

test('every HTTP status is named for what it is', async () => {
  let status = 0;
  const endpoint = keep(
    await startScripted(({ id, method }, response) => {
      if (method === 'server/discover') return { jsonrpc: '2.0', id, result: DISCOVERED };
      response.writeHead(status, { 'retry-after': '7' }).end('<secret>');
      return undefined;
    }),
  );
  const remote = keep(makeRemote());
  const seen: Record<number, unknown> = {};
  for (status of [202, 204, 401, 403, 418, 429, 500, 503]) {
    const answer = await callTool(remote, endpoint.url, 'x');
    expect(textOf(answer)).not.toContain('secret');
    seen[status] = answer.kind === 'failed' && [answer.reason, answer.retryAfterSeconds];
  }
  expect(seen).toEqual({
    ...{ 202: ['protocol', undefined], 204: ['protocol', undefined] },
    ...{ 401: ['tool-error', undefined], 403: ['tool-error', undefined], 418: ['tool-error', undefined] },
    ...{ 429: ['unreachable', 7], 500: ['tool-error', undefined], 503: ['unreachable', 7] },
  });
});

test('an endpoint that is not there is left alone after five failures, tried again by one call, and then served', async () => {
  let now = new Date('2030-01-01T00:00:00Z');
  const clock: Clock = { now: () => now };
  let isUp = false;
  const endpoint = keep(
    await startScripted(({ id, method }, response) => {
      if (!isUp) return void response.writeHead(503).end();
      return method === 'server/discover' ? { jsonrpc: '2.0', id, result: DISCOVERED } : result(id);
    }),
  );
  const remote = keep(makeRemote({ clock }));
  const call = () => callTool(remote, endpoint.url, 'x');
  for (let count = 0; count < 5; count += 1) expect(await call()).toMatchObject({ reason: 'unreachable' });
  expect(endpoint.seen).toHaveLength(5);
  expect(await call()).toMatchObject({ reason: 'unreachable', retryAfterSeconds: 10 });
  expect(endpoint.seen).toHaveLength(5);
  expect(remote.health()[endpoint.url]).toMatchObject({ state: 'open', failures: 5 });
  now = addMs(now, 10_000);
  expect(remote.health()[endpoint.url]?.state).toBe('half-open');
  const probes = await Promise.all([call(), call(), call()]);
  expect(endpoint.seen).toHaveLength(6);
  expect(probes.map((probe) => probe.kind === 'failed' && probe.retryAfterSeconds).sort()).toEqual([
    1,
    1,
    undefined,
  ]);
  expect(await call()).toMatchObject({ retryAfterSeconds: 20 });
  now = addMs(now, 20_000);
  isUp = true;
  expect(textOf(await call())).toBe('ok');
  expect(remote.health()[endpoint.url]).toMatchObject({ state: 'closed', failures: 0 });
});

test('a caller cannot close a tool to the others by making it slow or making it fail', async () => {
  const endpoint = keep(
    await startModern(({ id, params }, response) => {
      if (params.name === 'hang') return undefined;
      if (params.name === 'break') return void response.destroy();
      return result(id);
    }),
  );
  const remote = keep(makeRemote());
  const limits = { ...LIMITS, runTimeoutMs: 50 };
  await callTool(remote, endpoint.url, 'x');
  await Promise.all(Array.from({ length: 10 }, () => callTool(remote, endpoint.url, 'hang', {}, { limits })));
  await Promise.all(Array.from({ length: 10 }, () => callTool(remote, endpoint.url, 'break')));
  expect(textOf(await callTool(remote, endpoint.url, 'x'))).toBe('ok');
});

test('no more than 512 calls wait for one endpoint', async () => {
  const endpoint = keep(await startModern(() => undefined));
  const remote = keep(makeRemote({ connectionsMax: 8 }));
  const leaving = new AbortController();
  await callTool(remote, endpoint.url, 'x', {}, { limits: { ...LIMITS, runTimeoutMs: 50 } });
  const calls = Array.from({ length: 512 }, () =>
    callTool(remote, endpoint.url, 'x', {}, { signal: leaving.signal }),
  );
  await expect(callTool(remote, endpoint.url, 'x')).rejects.toMatchObject({
    type: 'unavailable',
    status: 503,
  });
  leaving.abort();
  const answers = await Promise.all(calls);
  expect(answers.every((answer) => answer.kind === 'failed' && answer.reason === 'cancelled')).toBe(true);
  expect(remote.health()[endpoint.url]?.inFlight).toBe(0);
});

test('a server that is not there says so', async () => {
  const endpoint = await startModern(() => undefined);
  await endpoint.close();
  const remote = keep(makeRemote());
  expect(await callTool(remote, endpoint.url, 'x')).toMatchObject({
    ...{ kind: 'failed', reason: 'unreachable', detail: 'The endpoint refuses connections.' },
  });
  const server = { kind: 'remote' as const, serverId: SERVER_ID, endpoint: endpoint.url, limits: LIMITS };
  await expect(remote.greet(server, new AbortController().signal)).rejects.toMatchObject({
    type: 'tool-failed',
  });
});
