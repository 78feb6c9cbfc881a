import { once } from 'node:events';
import { type Server, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { strangerWay } from '../../src/http/stranger.ts';
import { createServer, listen } from '../../src/server.ts';
import type { Reply } from '../../src/traffic/index.ts';
import { sale, standingDeps } from '../gateway/standing-fixtures.ts';

let server: Server;
let port: number;
/** How many heads Node spelled. */
let spelled = 0;

/** The response of a Node that keeps its head elsewhere. */
function hideHead(outgoing: ServerResponse): ServerResponse {
  return new Proxy(outgoing, {
    get(target, name) {
      const value: unknown = name === '_header' ? undefined : Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set: (target, name, value) => name !== '_header' && Reflect.set(target, name, value, target),
  });
}

/** The same reply, where its response is such a one. */
function hideHeadOf(reply: Reply): Reply {
  const { incoming, isBare } = reply;
  return {
    ...{ incoming, isBare, write: (text) => reply.write(text) },
    get outgoing() {
      return hideHead(reply.outgoing);
    },
  };
}

beforeAll(async () => {
  const place = { method: 'GET', path: '/v1/example' };
  const stranger = strangerWay(standingDeps(), sale, place);
  const ofHidden = strangerWay(standingDeps(), sale, place);
  let count = 0;
  server = createServer(() => new Response(), {
    direct(reply) {
      const { incoming } = reply;
      count += 1;
      const given = Object.getOwnPropertyDescriptor(ServerResponse.prototype, 'writeHead')?.value;
      if (incoming.url === '/limited') reply.outgoing.setHeader('ratelimit', 'little');
      const isHidden = incoming.url === '/hidden';
      const way = isHidden ? ofHidden : stranger;
      expect(way.isFor(incoming)).toBe(true);
      ServerResponse.prototype.writeHead = function (this: ServerResponse, ...values: unknown[]) {
        spelled += 1;
        return Reflect.apply(given, this, values);
      };
      way.answer(isHidden ? hideHeadOf(reply) : reply, `request-${count}`);
      ServerResponse.prototype.writeHead = given;
      return true;
    },
  });
  port = await listen(server, { host: '127.0.0.1', port: 0 });
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

type Answer = { status: string; headers: Map<string, string>; names: string[]; body: string };

/** Sends requests on one connection without waiting, and reads all that comes until `answers` are there or it closes. */
async function send(requests: string[], answers = requests.length): Promise<Answer[]> {
  const socket = connect(port, '127.0.0.1');
  socket.write(requests.map((head) => `${head}\r\nHost: a\r\n\r\n`).join(''));
  let text = '';
  const found: Answer[] = [];
  for await (const chunk of socket) {
    text += String(chunk);
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      const [status = '', ...lines] = text.slice(0, end).split('\r\n');
      const pairs = lines.map((line): [string, string] => [
        line.slice(0, line.indexOf(': ')).toLowerCase(),
        line.slice(line.indexOf(': ') + 2),
      ]);
      const headers = new Map(pairs);
      const next = end + 4 + Number(headers.get('content-length'));
      if (text.length < next) break;
      found.push({ status, headers, names: pairs.map(([name]) => name), body: text.slice(end + 4, next) });
      text = text.slice(next);
    }
    if (found.length >= answers) break;
  }
  expect(text).toBe('');
  return found;
}

const GET = 'GET / HTTP/1.1';

test('a filled-in head says what Node would say, each time with a request and a quote of its own', async () => {
  const answers = await send([GET, GET, GET, GET]);
  const [first] = answers;
  expect(answers).toHaveLength(4);
  for (const answer of answers) {
    expect(answer.status).toBe('HTTP/1.1 402 Payment Required');
    expect(answer.names).toEqual(first?.names);
    expect(answer.headers.get('keep-alive')).toBe(first?.headers.get('keep-alive'));
    expect(Date.parse(answer.headers.get('date') ?? '')).toBeGreaterThan(Date.now() - 5_000);
    const document = JSON.parse(answer.body);
    expect(document.instance).toBe(`urn:request:${answer.headers.get('x-request-id')}`);
    expect(document.accepts).toHaveLength(1);
  }
  for (const name of ['x-request-id', 'payment-required', 'www-authenticate']) {
    expect(new Set(answers.map(({ headers }) => headers.get(name))).size).toBe(4);
  }
});

test('a connection goes on after it, also one that has asked ahead, and is told when it does not', async () => {
  expect(await send(Array.from({ length: 40 }, () => GET))).toHaveLength(40);
  const last = await send([GET, `${GET}\r\nConnection: close`]);
  expect(last.map(({ headers }) => headers.get('connection'))).toEqual(['keep-alive', 'close']);
  const [old] = await send(['GET / HTTP/1.0']);
  expect(old?.headers.get('connection')).toBe('close');
});

test('what was said before on a response is said beside it', async () => {
  const answers = await send([GET, 'GET /limited HTTP/1.1', GET]);
  expect(answers.map(({ headers }) => headers.get('ratelimit'))).toEqual([undefined, 'little', undefined]);
  expect(answers.every(({ headers }) => headers.has('payment-required'))).toBe(true);
});

test('of many answers Node spells few: the filled-in head is in use with this Node', async () => {
  spelled = 0;
  // A few at a time: what a connection cannot take at once is Node's to keep, and to spell.
  for (let round = 0; round < 12; round += 1) {
    expect(await send(Array.from({ length: 5 }, () => GET))).toHaveLength(5);
  }
  // One for each 200 ms, of which a slow machine may need many.
  expect(spelled).toBeLessThan(50);
});

test('a Node that keeps its heads elsewhere spells each of them, and says the same', async () => {
  spelled = 0;
  const hidden = 'GET /hidden HTTP/1.1';
  const answers = await send([GET, hidden, hidden, GET, hidden]);
  expect(spelled).toBeGreaterThanOrEqual(3);
  for (const { status, names, headers, body } of answers) {
    expect(status).toBe('HTTP/1.1 402 Payment Required');
    expect(names).toEqual(answers[0]?.names);
    expect(JSON.parse(body).instance).toBe(`urn:request:${headers.get('x-request-id')}`);
  }
});

test('clients that leave in the middle of their answers take nobody else down', async () => {
  for (let round = 0; round < 50; round += 1) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`${GET}\r\nHost: a\r\n\r\n`.repeat(20));
    if (round % 2 === 0) await once(socket, 'data');
    socket.resetAndDestroy();
  }
  const answers = await send([GET, GET, GET]);
  expect(new Set(answers.map(({ headers }) => headers.get('x-request-id'))).size).toBe(3);
});
