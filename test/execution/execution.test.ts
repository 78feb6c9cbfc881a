import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { Json } from '../../src/core/canonical-json.ts';
import { InvariantError } from '../../src/core/invariant.ts';
import { Problem } from '../../src/core/problem.ts';
import {
  type Backend,
  createNoBackend,
  type Execution,
  type Jail,
  type Outcome,
  type RunInput,
} from '../../src/execution/index.ts';
import {
  call,
  codeOf,
  findLastingTraces,
  findTraces,
  hosted,
  NO_TRACES,
  never,
  testBackend,
  testExecution,
  textStats,
} from './harness.ts';

const backend = testBackend();
const execution = testExecution(backend);
const onlyPython: Backend = {
  ...backend,
  async status() {
    const status = await backend.status();
    if (status.kind === 'unavailable') return status;
    const { python } = status.capabilities.roots;
    return { ...status, capabilities: { ...status.capabilities, roots: { ...(python && { python }) } } };
  },
};
const withoutNode = testExecution(onlyPython);
const moody = codeOf(['mcp.py', 'moody.py']);
const mood = (given: { [key: string]: Json }, signal?: AbortSignal) =>
  call(execution, {
    code: moody,
    toolName: 'mood',
    arguments: given,
    ...(signal === undefined ? {} : { signal }),
  });

const ofMood = (want: string): Partial<RunInput> => ({
  server: hosted(moody),
  request: { method: 'tools/call', params: { name: 'mood', arguments: { want } } },
});

afterEach(async () => expect(await findLastingTraces()).toEqual(NO_TRACES));
afterAll(() => execution.close());

describe('a call', () => {
  const outputSchema = { type: 'object', properties: { words: { type: 'integer' } }, required: ['words'] };
  const run = (input: Partial<RunInput>) =>
    execution.run(
      {
        server: hosted(textStats),
        request: { method: 'tools/call', params: { name: 'count', arguments: { text: 'a b c' } } },
        outputSchema,
        ...input,
      },
      never,
    );

  it('delivers the result of a server made of several files', async () => {
    expect(await run({})).toEqual({
      kind: 'delivered',
      result: {
        content: [{ type: 'text', text: expect.any(String) }],
        structuredContent: { words: 3, characters: 5 },
      },
      runMs: expect.any(Number),
    });
  });

  it('is not delivered when the structured result breaks the declared schema', async () => {
    const strict = { ...outputSchema, properties: { words: { type: 'string' } } };
    const detail = 'structuredContent/words must be string.';
    expect(await run({ outputSchema: strict })).toMatchObject({
      kind: 'failed',
      reason: 'contract-broken',
      detail,
    });
  });

  it('is not delivered when a schema is declared and no structured result came', async () => {
    const outcome = await run(ofMood('no structure'));
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'contract-broken' });
  });

  it('is not checked against the schema when the tool itself reports an error', async () => {
    const outcome = await run(ofMood('silent error'));
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'tool-error' });
  });

  it('runs alone: nothing of an earlier call is there', async () => {
    const outcomes = [await run({}), await run({})];
    expect(outcomes.map(({ kind }) => kind)).toEqual(['delivered', 'delivered']);
  });
});

describe('a failure', () => {
  it("carries the tool's own words, as one line of at most 512 bytes", async () => {
    const text = `no such\n\tcity: ${'Žďár '.repeat(300)}`;
    const outcome = await mood({ want: 'error', text });
    if (outcome.kind !== 'failed') throw new Error('delivered');
    expect(outcome.reason).toBe('tool-error');
    expect(outcome.detail).toMatch(/^no such city: Žďár .*…$/);
    expect(Buffer.byteLength(outcome.detail)).toBeLessThanOrEqual(512);
  });

  it('of a tool that is not there is a tool-error with the words of the server', async () => {
    const outcome = await call(execution, { code: moody, toolName: 'nothing' });
    expect(outcome).toMatchObject({
      reason: 'tool-error',
      detail: expect.stringMatching(/unknown method or tool/),
    });
  });

  it('of a server that exits names its exit code and not its stderr', async () => {
    const outcome = await mood({ want: 'exit', code: 7 });
    expect(outcome).toMatchObject({
      reason: 'crashed',
      detail: 'The server ended before it answered (exit code 7).',
    });
  });

  it.each([97, 98, 1, 255])(
    'of a server that exits with %i is its own, even where our launcher uses that code',
    async (code) => {
      expect(await mood({ want: 'exit', code })).toMatchObject({ reason: 'crashed' });
      expect((await execution.status()).kind).toBe('ready');
    },
  );

  it('of a caller who leaves ends the run at once', async () => {
    const leaving = new AbortController();
    setTimeout(() => leaving.abort(), 300);
    const outcome = await mood({ want: 'sleep', seconds: 60 }, leaving.signal);
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'cancelled' });
    expect(outcome.runMs).toBeLessThan(2000);
  });

  it('of a caller who left before it began starts nothing', async () => {
    const outcome = await mood({ want: 'sleep', seconds: 60 }, AbortSignal.abort());
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'cancelled', runMs: 0 });
    expect(await findTraces()).toEqual(NO_TRACES);
  });
});

describe('code', () => {
  it('that was changed since it was published does not run', async () => {
    const archive = Buffer.from(textStats.archive);
    archive.write('import os; os.system("true")', 512);
    const tampered = call(execution, { code: { ...textStats, archive }, toolName: 'count' });
    await expect(tampered).rejects.toThrow(InvariantError);
    expect(await findTraces()).toEqual(NO_TRACES);
  });

  it('of a runtime that the sandbox has no root for is refused, not guessed at', async () => {
    const other = call(withoutNode, { code: { ...textStats, runtime: 'node' }, toolName: 'count' });
    await expect(other).rejects.toMatchObject({
      type: 'unavailable',
      message: 'This sandbox does not run Node.',
    });
    expect(await findTraces()).toEqual(NO_TRACES);
  });
});

describe('the queue', () => {
  it('lets 20 calls at once all be answered, and runs no more than it may at a time', async () => {
    const living = new Set<string>();
    let most = 0;
    const counting = testExecution({
      ...backend,
      async acquire(spec, signal) {
        const jail = await backend.acquire(spec, signal);
        most = Math.max(most, living.add(jail.id).size);
        const kill: Jail['kill'] = (reason) => jail.kill(reason).finally(() => living.delete(jail.id));
        return { ...jail, kill };
      },
    });
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        call(counting, { code: textStats, toolName: 'count', arguments: { text: 'w '.repeat(n) } }),
      ),
    );
    expect(outcomes.map((outcome) => countedWords(outcome))).toEqual(Array.from({ length: 20 }, (_, n) => n));
    expect(most).toBeLessThanOrEqual(4);
  });

  it('turns away who comes when it is full: 503, try again in a second, no charge', async () => {
    const small = testExecution(backend, { concurrencyMax: 1, queueMax: 1 });
    const calls = Array.from({ length: 3 }, () =>
      call(small, { code: textStats, toolName: 'count', arguments: { text: 'x' } }),
    );
    const [first, second, third] = await Promise.allSettled(calls);
    expect([first?.status, second?.status, third?.status]).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    const problem = third?.status === 'rejected' ? third.reason : undefined;
    expect(problem).toBeInstanceOf(Problem);
    expect(problem).toMatchObject({ status: 503, options: { retryAfterSeconds: 1, isUncharged: true } });
  });

  it('forgets who leaves while waiting, and lets the next one in', async () => {
    const small = testExecution(backend, { concurrencyMax: 1, queueMax: 2 });
    const leaving = new AbortController();
    const slow = call(small, { code: moody, toolName: 'mood', arguments: { want: 'sleep', seconds: 0.5 } });
    const left = call(small, { code: moody, toolName: 'mood', signal: leaving.signal });
    const last = call(small, { code: moody, toolName: 'mood' });
    leaving.abort();
    expect(await left).toMatchObject({ kind: 'failed', reason: 'cancelled' });
    expect([(await slow).kind, (await last).kind]).toEqual(['delivered', 'delivered']);
  });

  it('is left by a call that could not start', async () => {
    const small = testExecution(onlyPython, { concurrencyMax: 1, queueMax: 0 });
    for (let turn = 0; turn < 3; turn += 1) {
      const code = { ...textStats, runtime: 'node' } as const;
      await expect(call(small, { code, toolName: 'count' })).rejects.toMatchObject({ type: 'unavailable' });
    }
    expect((await call(small, { code: textStats, toolName: 'count', arguments: { text: 'x' } })).kind).toBe(
      'delivered',
    );
  });
});

describe('a way to the network', () => {
  const reaching = { ...hosted(moody), hosts: ['example.com'] };
  const request = { method: 'tools/call', params: { name: 'mood', arguments: {} } };
  const run = (on: Execution) => on.run({ server: reaching, request, outputSchema: undefined }, never);

  it('is opened for exactly the hosts of a call, and closed with its jail', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gate-'));
    await chmod(folder, 0o755);
    const told: unknown[] = [];
    const gated = testExecution(backend, {
      egress: {
        async openEgress({ hosts }) {
          const socketPath = join(folder, 'gate.sock');
          const proxy = createServer().listen(socketPath);
          await once(proxy, 'listening');
          told.push(hosts);
          return {
            socketPath,
            async close() {
              told.push((await findTraces()).processes);
              proxy.close();
              return { bytesUp: 1, bytesDown: 2, refused: [] };
            },
          };
        },
      },
      poolMemoryBytesMax: 0,
    });
    expect(await run(gated)).toMatchObject({ kind: 'delivered' });
    expect(await findLastingTraces()).toEqual(NO_TRACES);
    await expect.poll(() => told).toEqual([['example.com'], []]);
    await rm(folder, { recursive: true });
  });

  it('that nothing can open is said, and nothing starts', async () => {
    const detail = 'This sandbox reaches no network: the tool can be called only without it.';
    await expect(run(execution)).rejects.toMatchObject({ type: 'unavailable', message: detail });
  });
});

describe('without a sandbox', () => {
  it('nothing runs and the reason is told', async () => {
    const none = testExecution(createNoBackend('It is switched off.'));
    expect(await none.status()).toEqual({ kind: 'unavailable', detail: 'It is switched off.' });
    await expect(call(none, { code: textStats, toolName: 'count' })).rejects.toMatchObject({
      status: 503,
      message: 'It is switched off.',
    });
  });
});

describe('closing', () => {
  const sleeping = { code: moody, toolName: 'mood', arguments: { want: 'sleep', seconds: 60 } };
  const untilSomethingRuns = async () => {
    while ((await findTraces()).processes.length === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
  };

  it('ends what runs, turns away what waits and comes, and leaves nothing', async () => {
    const closing = testExecution(testBackend(), { concurrencyMax: 1 });
    const waiting = codeOf(['mcp_full.py']);
    let hear = () => {};
    const heard = new Promise<void>((resolve) => {
      hear = resolve;
    });
    const running = closing.run(
      {
        server: hosted(waiting),
        request: { method: 'tools/call', params: { name: 'wait', arguments: {} } },
        events: { notify: () => hear() },
        outputSchema: undefined,
      },
      never,
    );
    const both = Promise.allSettled([running, call(closing, sleeping)]);
    await heard;
    await closing.close();
    const [ran, waited] = await both;
    // Not the tool's fault: it must not look like a crash.
    expect(ran).toMatchObject({ status: 'fulfilled', value: { kind: 'failed', reason: 'cancelled' } });
    expect(waited).toMatchObject({ status: 'rejected', reason: { status: 503 } });
    await expect(call(closing, sleeping)).rejects.toMatchObject({ status: 503 });
    expect(await findTraces()).toEqual(NO_TRACES);
  });

  it('while the sandbox is still being tried out leaves nothing either', async () => {
    const closing = testExecution(testBackend());
    const call1 = Promise.allSettled([call(closing, sleeping)]);
    await untilSomethingRuns();
    await closing.close();
    expect(await call1).toMatchObject([{ status: 'rejected', reason: { status: 503 } }]);
    expect(await findTraces()).toEqual(NO_TRACES);
  });
});

function countedWords(outcome: Outcome): unknown {
  return outcome.kind === 'delivered' ? outcome.result.structuredContent?.words : outcome;
}
