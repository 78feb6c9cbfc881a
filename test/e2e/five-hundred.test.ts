import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, publishEcho } from './fixtures.ts';
import { listOwn, startStateless } from './own-servers.ts';
import { balanceOf, bearer, countByStatus, readBody, type Surface, startSurface, times } from './surface.ts';

const CALLS = 500;
const PRICE = 250;
const AT_MOST_MS = 240_000;

let surface: Surface;

beforeAll(async () => {
  surface = await startSurface({ REMOTE_ALLOW_LOOPBACK: 'yes' });
});
afterAll(() => surface.close());

type Call = { path: string; tool: string; argument: string; key: string };

/** One call until it is answered, by a client that waits as long as it is told to; says how often it was sent. */
async function callUntilAnswered(gateway: TestGateway, { path, tool, argument, key }: Call, text: string) {
  const headers = { ...bearer(key), 'idempotency-key': `call ${text}` };
  for (let sent = 1; ; sent += 1) {
    const request = jsonBody({ tool, arguments: { [argument]: text } }, headers);
    const response = await gateway.fetch(path, request);
    if (response.status !== 503) return { response, sent };
    const seconds = Number((await drop(response)).headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(0);
    await sleep(seconds * 1_000);
  }
}

/** A body that nobody reads keeps its connection. */
async function drop(response: Response): Promise<Response> {
  await response.arrayBuffer();
  return response;
}

async function callAll(gateway: TestGateway, call: Call) {
  const answers = await Promise.all(times(CALLS, (index) => callUntilAnswered(gateway, call, `n${index}.`)));
  expect(countByStatus(answers.map(({ response }) => response))).toEqual({ 200: CALLS });
  const bodies = await Promise.all(answers.map(({ response }) => readBody(response)));
  // Each has the answer to its own question, and paid for it once.
  for (const [index, body] of bodies.entries()) {
    expect(JSON.stringify(body.result)).toContain(`n${index}.`);
    expect(body.charged_mcents).toBe(PRICE);
  }
  expect(new Set(bodies.map(({ receipt_id }) => receipt_id)).size).toBe(CALLS);
  expect(await balanceOf(gateway, call.key)).toBe(0);
  return answers.reduce((sum, { sent }) => sum + sent, 0);
}

test(
  '500 calls at once of a hosted server are all answered, each once, to clients that wait as they are told',
  async () => {
    const server = await publishEcho(surface.gateway, {
      pricing: { model: 'per_call', amount_mcents: PRICE },
    });
    const key = await surface.gateway.mint(CALLS * PRICE);
    await callAll(surface.gateway, { path: server.call, tool: 'echo', argument: 'text', key });
  },
  AT_MOST_MS,
);

test(
  "500 calls at once of a publisher's own server are all passed on, each once",
  async () => {
    const own = await startStateless();
    try {
      const pricing = { model: 'per_call', amount_mcents: PRICE };
      const server = await listOwn(surface.gateway, own, { change: { pricing } });
      const key = await surface.gateway.mint(CALLS * PRICE);
      const before = own.asked.length;
      const sent = await callAll(surface.gateway, {
        path: server.call,
        tool: 'greet',
        argument: 'name',
        key,
      });
      expect(sent).toBe(CALLS);
      const calls = own.asked.slice(before).filter(({ rpc }) => rpc === 'tools/call');
      expect(new Set(calls.map(({ body }) => JSON.parse(body).params.arguments.name)).size).toBe(CALLS);
      expect(calls.length).toBe(CALLS);
    } finally {
      await own.close();
    }
  },
  AT_MOST_MS,
);
