import { once } from 'node:events';
import { createServer as createNodeServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { createServer, drain, listen, type ServerOptions } from '../../src/server.ts';
import { createReplies, type Reply } from '../../src/traffic/index.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw } from '../harness/raw-client.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

const ask = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
const spell = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const statusesOf = (text: string) =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));

/** A server that takes `/reply...` by replies, and has the rest answered by an app that says where it was asked. */
async function start(options: ServerOptions = {}) {
  const replies: Reply[] = [];
  const server = createServer((request) => new Response(`app ${new URL(request.url).pathname}`), {
    ...{ loopDelayMaxMs: 0, ...options },
    direct(reply) {
      if (!reply.incoming.url?.startsWith('/reply')) return false;
      replies.push(reply);
      return true;
    },
  });
  servers.push(server);
  const port = await listen(server, { host: '127.0.0.1', port: 0 });
  const taken = (count: number) => waitUntil(() => replies.length === count || undefined);
  return { server, replies, taken, client: await connectRaw(`http://127.0.0.1:${port}`), port };
}

test('the end of a request is not told, unless its response is asked for', async () => {
  const { replies, taken, client } = await start();
  const ends: string[] = [];
  const hear = (at: number) =>
    replies[at]?.incoming.on('end', () => ends.push(`${replies[at]?.incoming.url}`)).resume();
  client.send(ask('/reply/bare'));
  await taken(1);
  hear(0);
  replies[0]?.write(spell('bare'));
  await client.until('bare');
  client.send(ask('/reply/late'));
  await taken(2);
  hear(1);
  // The request was read to its end long ago.
  await sleep(50);
  expect(replies[1]?.incoming).toMatchObject({ complete: true, readableEnded: false });
  replies[1]?.outgoing.end('late');
  await client.until('late');
  client.send(ask('/other'));
  await client.until('app /other');
  expect(ends).toEqual(['/reply/late']);
  expect(replies[0]?.incoming.readableEnded).toBe(false);
});

test('who hears the end of a request may ask for its response, and the request is answered once', async () => {
  const { replies, taken, client } = await start();
  client.send(ask('/reply'));
  await taken(1);
  await sleep(50);
  const [reply] = replies;
  let ended = 0;
  reply?.incoming.on('readable', () => {
    reply.incoming.read();
    if (reply.incoming.complete && !reply.outgoing.writableEnded) reply.outgoing.end(`answer ${++ended}`);
  });
  await sleep(50);
  void reply?.outgoing;
  await client.until('answer 1');
  client.send(ask('/other'));
  await client.until('app /other');
  expect([replies.length, ended]).toEqual([1, 1]);
  expect(statusesOf(client.text())).toEqual([200, 200]);
});

describe('a bare reply', () => {
  test('is one text on a connection that goes on behind it', async () => {
    const { replies, taken, client } = await start();
    for (const turn of [1, 2, 3]) {
      client.send(ask('/reply'));
      await taken(turn);
      expect(replies.at(-1)?.isBare).toBe(true);
      replies.at(-1)?.write(spell(`answer ${turn}`));
      await client.until(`answer ${turn}`);
    }
    client.send(ask('/other'));
    await client.until('app /other');
    client.send(ask('/reply'));
    await taken(4);
    replies.at(-1)?.write(spell('answer 4'));
    await client.until('answer 4');
    expect(statusesOf(client.text())).toEqual([200, 200, 200, 200, 200]);
  });

  test('keeps its turn before what was asked behind it, which is answered too', async () => {
    const { replies, taken, client } = await start();
    client.send(ask('/reply/1') + ask('/other') + ask('/reply/2'));
    await taken(2);
    const [first, second] = replies;
    // What stands in line has a response.
    expect([first?.isBare, second?.isBare]).toEqual([false, false]);
    second?.outgoing.end('second');
    await new Promise((done) => setTimeout(done, 50));
    expect(client.text()).toBe('');
    first?.outgoing.end('first');
    const text = await client.until('second');
    expect([text.indexOf('first'), text.indexOf('app /other'), text.indexOf('second')]).toEqual(
      [text.indexOf('first'), text.indexOf('app /other'), text.indexOf('second')].sort((a, b) => a - b),
    );
    expect(statusesOf(text)).toEqual([200, 200, 200]);
  });

  test('gives back its place when its client is gone, and is written to nobody', async () => {
    const { server, replies, taken, port } = await start({ inFlightMax: 4 });
    for (let round = 0; round < 12; round += 1) {
      const client = await connectRaw(`http://127.0.0.1:${port}`);
      client.send(ask('/reply'));
      await taken(round + 1);
      client.socket.destroy();
      await waitUntil(async () => (await connections(server)) === 1 || undefined);
      if (round % 2 === 0) replies[round]?.write(spell('late'));
      else replies[round]?.outgoing.end('late');
    }
    const client = await connectRaw(`http://127.0.0.1:${port}`);
    client.send(ask('/reply'));
    await taken(13);
    replies[12]?.write(spell('in time'));
    await client.until('in time');
  });

  test('under way when the drain begins is answered as the last one of its connection', async () => {
    const { server, replies, taken, client } = await start();
    client.send(ask('/reply'));
    await taken(1);
    const drained = drain(server);
    await waitUntil(() => !server.listening || undefined);
    expect(replies[0]?.isBare).toBe(false);
    replies[0]?.outgoing.end('last');
    const text = await client.ended();
    expect(text).toContain('last');
    expect(text.toLowerCase()).toContain('connection: close');
    await drained;
  });

  test('under way is not taken for idle', async () => {
    const { server, replies, taken, client } = await start();
    client.send(ask('/reply'));
    await taken(1);
    server.closeIdleConnections();
    await new Promise((done) => setTimeout(done, 50));
    replies[0]?.write(spell('still here'));
    await client.until('still here');
    server.closeIdleConnections();
    await client.ended();
  });

  test('is answered before what comes behind it and cannot be read', async () => {
    const { replies, taken, client } = await start();
    client.send(`${ask('/reply')}nonsense\r\n\r\n`);
    await taken(1);
    await waitUntil(() => replies[0]?.isBare === false || undefined);
    replies[0]?.outgoing.end('paid for');
    expect(await client.ended()).toContain('paid for');
  });

  test('is not for a connection that ends with it, nor for HTTP/1.0', async () => {
    const { replies, taken, client, port } = await start();
    client.send(ask('/reply', 'Connection: close\r\n'));
    const old = await connectRaw(`http://127.0.0.1:${port}`);
    old.send('GET /reply HTTP/1.0\r\nHost: x\r\n\r\n');
    await taken(2);
    for (const reply of replies) {
      expect(reply.isBare).toBe(false);
      expect(() => reply.write(spell('no'))).toThrow(TypeError);
      reply.outgoing.end('done');
    }
    expect(await client.ended()).toContain('done');
    expect(await old.ended()).toContain('done');
  });

  test('is written once: what asks for its response afterwards has one that goes nowhere', async () => {
    const { replies, taken, client } = await start({ inFlightMax: 1 });
    client.send(ask('/reply'));
    await taken(1);
    replies[0]?.write(spell('once'));
    await client.until('once');
    expect(() => replies[0]?.write(spell('twice'))).toThrow(TypeError);
    replies[0]?.outgoing.writeHead(500).end('twice');
    client.send(ask('/other'));
    expect(await client.until('app /other')).not.toContain('twice');
  });
});

test('a connection has 64 bare replies of a turn, and others theirs in the next', async () => {
  const bare: boolean[] = [];
  const server = createServer(() => new Response(), {
    loopDelayMaxMs: 0,
    direct(reply) {
      bare.push(reply.isBare);
      if (reply.isBare) reply.write(spell('now'));
      else reply.outgoing.end('now');
      return true;
    },
  });
  servers.push(server);
  const port = await listen(server, { host: '127.0.0.1', port: 0 });
  const client = await connectRaw(`http://127.0.0.1:${port}`);
  client.send(ask('/').repeat(100));
  await waitUntil(() => statusesOf(client.text()).length === 100 || undefined);
  expect(bare.slice(0, 100).filter((isBare) => isBare)).toHaveLength(64);
  for (let turn = 0; turn < 80; turn++) {
    client.send(ask('/'));
    await waitUntil(() => statusesOf(client.text()).length === 101 + turn || undefined);
  }
  expect(bare.slice(100)).toEqual(Array.from({ length: 80 }, () => true));
});

/** Node's server with nothing of ours but replies. */
async function startNode(change: (socket: Socket) => void = () => {}) {
  const asked: IncomingMessage[] = [];
  let closed = 0;
  const replies = createReplies({
    offer(reply) {
      reply.write(spell('reply'));
      return true;
    },
    close() {
      closed += 1;
    },
    idleMs: 100,
  });
  const server = createNodeServer((incoming, outgoing) => {
    if (replies.claims(incoming, outgoing)) return;
    asked.push(incoming);
    setTimeout(() => outgoing.end('node'), 400);
  });
  server.on('connection', (socket: Socket) => {
    change(socket);
    replies.watch(socket);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  return { asked, closed: () => closed, client: await connectRaw(`http://127.0.0.1:${port}`) };
}

const connections = (server: Server) =>
  new Promise<number>((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });

test('a connection that says nothing behind a reply ends after a while', async () => {
  const { client, closed } = await startNode();
  client.send(ask('/'));
  await client.until('reply');
  await client.ended();
  expect(closed()).toBe(1);
});

test('a call that takes longer than a connection may be silent is not cut off behind a reply', async () => {
  const { asked, client } = await startNode();
  client.send(ask('/'));
  await client.until('reply');
  client.send('POST / HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n');
  expect(await client.ended()).toContain('node');
  expect(asked).toHaveLength(1);
});

test('where Node takes requests in by another way, every request has its response', async () => {
  const { asked, client, closed } = await startNode((socket) => {
    const { parser } = socket as Socket & { parser: { onIncoming: unknown } };
    const { onIncoming } = parser;
    parser.onIncoming = undefined;
    queueMicrotask(() => {
      parser.onIncoming = onIncoming;
    });
  });
  client.send(ask('/'));
  await client.until('node');
  expect([asked.length, closed()]).toEqual([1, 0]);
});
