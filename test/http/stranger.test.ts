import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { strangerWay } from '../../src/http/stranger.ts';
import { sale, standingDeps } from '../gateway/standing-fixtures.ts';

let server: Server;
let port: number;

beforeAll(async () => {
  const stranger = strangerWay(standingDeps(), sale, { method: 'GET', path: '/v1/example' });
  let count = 0;
  server = createServer((incoming, outgoing) => {
    count += 1;
    if (incoming.url === '/limited') outgoing.setHeader('ratelimit', 'little');
    expect(stranger.isFor(incoming)).toBe(true);
    stranger.answer(incoming, outgoing, `request-${count}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
afterAll(() => server.close());

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
