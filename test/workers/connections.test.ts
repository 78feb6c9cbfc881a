import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { type Supervisor, startSupervisor } from '../../src/workers/index.ts';
import { chooseOwner } from '../../src/workers/steer.ts';
import { waitUntil } from '../harness/process.ts';

/** What the worker of these tests answers. */
type Answer = {
  worker: string;
  pid: number;
  connections: number;
  requests: number;
  body: string;
  remoteAddress: string;
  url: string;
};

const COUNT = 3;
let supervisor: Supervisor;
let url: string;
let port: number;

let noteLost = (_fields: unknown) => {};
const log = { ...silentLog, error: (fields: object) => noteLost(fields) };

/** One for all: the tests that end workers leave as many as they found, and the last one ends it. */
beforeAll(async () => {
  process.env.WORKERS = String(COUNT);
  supervisor = await startSupervisor({
    program: { main: join(import.meta.dirname, 'connections-worker.ts'), nodeArguments: ['--import', 'tsx'] },
    ...{ count: COUNT, address: { host: '127.0.0.1', port: 0 }, publicUrl: undefined, log },
    ending: new AbortController().signal,
    prepare: async () => {},
  });
  url = supervisor.publicUrl;
  port = Number(new URL(url).port);
}, 120_000);
afterAll(() => supervisor.stop());

/** One request on a connection of its own, unless an agent keeps one. */
function ask(url: string, options: { key?: string; body?: string; agent?: Agent } = {}): Promise<Answer> {
  const { key, body = '', agent } = options;
  return new Promise((resolve, reject) => {
    const headers = { ...(key !== undefined && { authorization: `Bearer ${key}` }) };
    const asked = request(url, { method: 'POST', headers, agent: agent ?? new Agent() }, async (response) => {
      try {
        resolve((await new Response(response as never).json()) as Answer);
      } catch (cause) {
        reject(cause);
      }
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

/** The worker that the key belongs to, once it is there: before, another one stands in for it. */
function askOwner(key: string): Promise<Answer> {
  const owner = String(chooseOwner(key, [1, 2, 3]));
  return waitUntil(async () => {
    const answer = await ask(url, { key });
    return answer.worker === owner ? answer : undefined;
  }, 60_000);
}

async function dial(port: number): Promise<Socket & { text(): string }> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  return Object.assign(socket, { text: () => text });
}

const count = (text: string, part: string) => text.split(part).length - 1;

test('a key comes to one worker on every connection, keys share the workers, and 200 connections are served once each', async () => {
  const keys = Array.from({ length: 40 }, (_, i) => `mcp_${i}`);
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const key = keys[i % keys.length] ?? '';
      return { key, body: `${i}`, answer: await ask(url, { key, body: `${i}` }) };
    }),
  );
  for (const { answer, body } of answers) expect(answer).toMatchObject({ body, remoteAddress: '127.0.0.1' });
  for (const key of keys) {
    const owners = answers.filter((each) => each.key === key).map(({ answer }) => answer.worker);
    expect(new Set(owners).size).toBe(1);
  }
  const counts = new Map<string, number[]>();
  for (const { answer } of answers) {
    counts.set(answer.worker, [...(counts.get(answer.worker) ?? []), answer.requests]);
  }
  expect([...counts.keys()].sort()).toEqual(['1', '2', '3']);
  // Each worker counted from one, and no request twice.
  for (const seen of counts.values()) {
    expect(seen.sort((a, b) => a - b)).toEqual(seen.map((_, i) => i + 1));
  }
});

test('callers without a key are spread evenly', async () => {
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(url)));
  expect(answers.filter(({ worker }) => worker === '1').length).toBe(10);
});

test('a kept connection stays with its worker, also for another key', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const first = await ask(url, { key: 'mcp_0', agent });
  for (let i = 1; i < 12; i += 1) {
    const next = await ask(url, { key: `mcp_${i}`, agent, body: 'x'.repeat(100_000) });
    expect(next).toMatchObject({ worker: first.worker, connections: first.connections });
    expect(next.body.length).toBe(100_000);
  }
  agent.destroy();
});

test('a body that had begun to arrive before the hand-over is complete, however it was cut', async () => {
  const body = 'abc'.repeat(60_000);
  const head = `POST /big HTTP/1.1\r\nhost: a\r\nx-api-key: mcp_7\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`;
  for (const cut of [10, head.length - 1, head.length, head.length + 1, head.length + 70_000]) {
    const socket = await dial(port);
    const whole = head + body;
    socket.write(whole.slice(0, cut));
    await new Promise((done) => setTimeout(done, 60));
    socket.write(whole.slice(cut));
    await once(socket, 'close');
    expect(socket.text()).toContain(`"body":"${body}"`);
  }
});

test('requests sent ahead of their answers, and Expect: 100-continue, are each answered once and in order', async () => {
  const piped = await dial(port);
  const one = (i: number) => `GET /${i} HTTP/1.1\r\nhost: a\r\nx-api-key: mcp_1\r\n\r\n`;
  piped.write(Array.from({ length: 20 }, (_, i) => one(i)).join(''));
  await waitUntil(() => count(piped.text(), '"url"') === 20);
  const urls = [...piped.text().matchAll(/"url":"\/(\d+)"/g)].map(([, i]) => Number(i));
  expect(urls).toEqual(Array.from({ length: 20 }, (_, i) => i));
  piped.destroy();
  const asking = await dial(port);
  asking.write(
    'POST /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n',
  );
  await waitUntil(() => asking.text().includes('100 Continue'));
  asking.write('ok');
  await once(asking, 'close');
  expect(asking.text()).toContain('"body":"ok"');
});

test('who half closes after the request is answered, and who says nothing or leaves holds up nobody', async () => {
  const half = await dial(port);
  half.end('GET /half HTTP/1.0\r\n\r\n');
  await once(half, 'close');
  expect(half.text()).toContain('"url":"/half"');
  // Some say nothing, some half a line, some leave in the middle.
  const silent = await Promise.all(Array.from({ length: 30 }, () => dial(port)));
  for (const [i, socket] of silent.entries()) {
    if (i % 3 === 0) socket.write('POST /x HTTP/1.1\r\nauthoriz');
    if (i % 3 === 1) socket.resetAndDestroy();
  }
  expect((await ask(url, { body: 'through' })).body).toBe('through');
  // The worker's own bound ends what is slow on purpose.
  await Promise.all(silent.map((socket) => socket.destroyed || once(socket, 'close')));
}, 60_000);

test('connections that a dying worker had not taken go to another; its own are reset, and others go on', async () => {
  const keys = Array.from({ length: 60 }, (_, i) => `mcp_${i}`);
  const owners = new Map<string, string>();
  for (const key of keys) owners.set(key, (await ask(url, { key })).worker);
  const [victim = ''] = keys.filter((key) => owners.get(key) === '1');
  const slow = keys.map((key) =>
    ask(`${url}/slow`, { key }).then(
      ({ worker }) => worker,
      () => 'reset',
    ),
  );
  await waitUntil(async () => (await ask(url, { key: victim })).requests > 0);
  await expect(ask(`${url}/die`, { key: victim })).rejects.toThrow();
  // These come while it is dead: nobody may notice.
  const after = await Promise.all(keys.map((key) => ask(url, { key, body: key })));
  expect(after.map(({ body }) => body)).toEqual(keys);
  const outcomes = await Promise.all(slow);
  for (const [i, key] of keys.entries()) {
    if (owners.get(key) !== '1') expect(outcomes[i]).toBe(owners.get(key));
  }
  // Started again, it has its keys back.
  await waitUntil(async () => (await ask(url, { key: victim })).worker === '1');
}, 60_000);

test('connections given to a worker that stands still and is then killed are served by another', async () => {
  const { worker, pid } = await askOwner('mcp_a');
  const blocked = ask(`${url}/block`, { key: 'mcp_a' }).catch(() => 'reset');
  await new Promise((done) => setTimeout(done, 200));
  const given = Array.from({ length: 20 }, (_, i) => ask(url, { key: 'mcp_a', body: `${i}` }));
  await new Promise((done) => setTimeout(done, 200));
  process.kill(pid, 'SIGKILL');
  const answers = await Promise.all(given);
  for (const [i, answer] of answers.entries()) {
    expect(answer.body).toBe(`${i}`);
    expect(answer.pid).not.toBe(pid);
  }
  expect(worker).toBeDefined();
  expect(await blocked).toBe('reset');
}, 60_000);

test('one worker that is told to end by somebody else ends without a lost request, and is replaced', async () => {
  const { worker, pid } = await askOwner('mcp_a');
  const under = Array.from({ length: 20 }, () => ask(`${url}/slow`, { key: 'mcp_a' }));
  await waitUntil(async () => (await ask(url, { key: 'mcp_a' })).requests > 10);
  process.kill(pid, 'SIGTERM');
  expect((await Promise.all(under)).every((answer) => answer.pid === pid)).toBe(true);
  const next = await waitUntil(async () => {
    const answer = await ask(url, { key: 'mcp_a' });
    return answer.worker === worker && answer.pid !== pid;
  });
  expect(next).toBe(true);
}, 60_000);

test('a worker that is stopped gets no more connections after a few seconds, and another one in the end', async () => {
  const { worker, pid } = await askOwner('mcp_s');
  process.kill(pid, 'SIGSTOP');
  const began = performance.now();
  // The first is on its way to it and is served by whoever comes after; the others wait no longer than that is seen.
  const given = Array.from({ length: 10 }, (_, i) => ask(url, { key: 'mcp_s', body: `${i}` }));
  const times = given.map(async (answer) => {
    expect((await answer).pid).not.toBe(pid);
    return performance.now() - began;
  });
  const sorted = (await Promise.all(times)).sort((a, b) => a - b);
  expect(sorted.at(-2)).toBeLessThan((sorted.at(-1) ?? 0) - 5_000);
  const isBack = async () => {
    const answer = await ask(url, { key: 'mcp_s' });
    return answer.worker === worker && answer.pid !== pid;
  };
  expect(await waitUntil(isBack, 60_000)).toBe(true);
  expect(() => process.kill(pid, 0)).toThrow();
}, 120_000);

test('a worker that was stopped for less than that is given its keys again, and lost nothing', async () => {
  const { pid } = await askOwner('mcp_s');
  process.kill(pid, 'SIGSTOP');
  const given = Array.from({ length: 10 }, (_, i) => ask(url, { key: 'mcp_s', body: `${i}` }));
  // Others have answered: it is known to stand still.
  await Promise.any(given);
  process.kill(pid, 'SIGCONT');
  const answers = await Promise.all(given);
  expect(answers.map(({ body }) => body)).toEqual(answers.map((_, i) => `${i}`));
  expect(await waitUntil(async () => (await ask(url, { key: 'mcp_s' })).pid === pid)).toBe(true);
}, 60_000);

test('a worker that crashes again and again is started ever more seldom, told each time, and the others serve', async () => {
  const crashes: unknown[] = [];
  noteLost = (fields) => crashes.push(fields);
  const { worker } = await askOwner('mcp_c');
  for (let i = 0; i < 3; i += 1) {
    await expect(ask(`${url}/crash`, { key: 'mcp_c' })).rejects.toThrow();
    expect((await ask(url, { body: 'served' })).body).toBe('served');
    await waitUntil(async () => (await ask(url, { key: 'mcp_c' })).worker === worker);
  }
  expect(crashes).toMatchObject([1, 2, 3].map(() => ({ worker: Number(worker), code: 3 })));
  const delays = crashes.map((crash) => (crash as { inMs: number }).inMs);
  expect(delays).toEqual([...delays].sort((a, b) => a - b));
  expect(delays[2]).toBe(4 * (delays[0] ?? 0));
}, 60_000);

test('a stop answers what is under way and what just came, and then nobody listens', async () => {
  const under = Array.from({ length: 50 }, (_, i) => ask(`${url}/slow`, { key: `mcp_${i}`, body: `${i}` }));
  const silent = await dial(port);
  await new Promise((done) => setTimeout(done, 300));
  const stopping = supervisor.stop();
  const answers = await Promise.all(under);
  expect(answers.map(({ body }) => body)).toEqual(answers.map((_, i) => `${i}`));
  await stopping;
  await expect(ask(url)).rejects.toThrow(/ECONNREFUSED/);
  silent.destroy();
}, 60_000);
