import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { parseSubmission } from '../../src/catalog/index.ts';
import { newUuid } from '../../src/core/ids.ts';
import { createNoBackend } from '../../src/execution/index.ts';
import { examineHosted } from '../../src/gateway/examine.ts';
import { codeOf, hosted, never, testBackend, testExecution } from '../execution/harness.ts';

afterEach(() => vi.useRealTimers());

const rules = { allowsLoopback: false, processor: process.arch };

test('a publisher whose build did not get its turn in time is told to come again', async () => {
  const roots = { python: { version: '3', sha256: '00'.repeat(32) } };
  const capabilities = {
    isolation: 'namespaces',
    memory: 'cgroup',
    pids: true,
    egress: 'proxy',
    roots,
  } as const;
  const execution = testExecution({
    ...createNoBackend('none'),
    status: async () => ({ kind: 'ready', capabilities }),
  });
  const builder = {
    build: (_: object, signal: AbortSignal) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      }),
  };
  const submission = parseSubmission(
    {
      ...{ name: 'a/b', version: '1.0.0', description: 'x', category: ['data'], license: 'MIT' },
      ...{ tier: 'hobbyist', language: 'python', entrypoint: 's.py', pricing: { model: 'free' } },
      files: { 's.py': '', 'requirements.txt': 'x==1' },
    },
    rules,
  );
  if (submission.tier !== 'hobbyist') throw new Error('it is hosted');
  const deps = {
    execution,
    builder,
    catalog: { openLayer: (sha256: string) => ({ sha256, read: async () => new Uint8Array() }) },
  };
  vi.useFakeTimers();
  const examined = examineHosted(deps, { publisherId: newUuid(), submission }, never).catch((error) => error);
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  expect(await examined).toMatchObject({ type: 'unavailable', options: { retryAfterSeconds: 60 } });
  await execution.close();
});

test('a server that the gateway stops while it is looked at is not called bad', async () => {
  const execution = testExecution(testBackend());
  const code = codeOf([], { 'server.py': 'import time\ntime.sleep(60)' });
  const inspecting = execution.inspect({ server: hosted(code) }, never).catch((error) => error);
  while (execution.load().running === 0) await sleep(10);
  await sleep(500);
  await execution.close();
  expect(await inspecting).toMatchObject({ type: 'unavailable' });
});
