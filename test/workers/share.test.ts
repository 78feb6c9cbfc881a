import { expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { takeShare } from '../../src/deps/share.ts';

const ENVIRONMENT = {
  ...{ NODE_ENV: 'test', DATABASE_URL: 'postgres://a:b@localhost/c', SANDBOX_CONCURRENCY: '10' },
  ...{ SANDBOX_QUEUE: '9', DATABASE_POOL_MAX: '10', REMOTE_CONNECTIONS: '7' },
};
const read = (workers: number, env: Record<string, string> = {}) =>
  readConfig({ ...ENVIRONMENT, GATEWAY_WORKERS: String(workers), ...env });

test('what the machine is allowed is divided, and all workers together never take more', () => {
  const whole = read(1);
  expect(takeShare(whole)).toBe(whole);
  for (const count of [2, 3, 4]) {
    const config = read(count);
    const share = takeShare(config);
    expect(share.sandbox.concurrencyMax).toBe(Math.floor(10 / count));
    expect(share.sandbox.queueMax).toBe(Math.floor(9 / count));
    expect(count * share.sandbox.poolMemoryBytesMax).toBeLessThanOrEqual(config.sandbox.poolMemoryBytesMax);
    expect(share.remote.connectionsMax).toBe(Math.floor(7 / count));
    // What bounds one process, and what PostgreSQL counts over all, is nobody's part.
    expect(share.traffic).toEqual(config.traffic);
    expect(share.mintsPerHour).toBe(config.mintsPerHour);
  }
});

test('a share is never so small that a worker could do nothing', () => {
  const share = takeShare(
    read(64, { SANDBOX_CONCURRENCY: '1', SANDBOX_QUEUE: '0', DATABASE_POOL_MAX: '10' }),
  );
  expect(share.sandbox.concurrencyMax).toBe(1);
  expect(share.sandbox.queueMax).toBe(0);
  expect(share.remote.connectionsMax).toBe(1);
  // A transaction and what it waits for.
  expect(share.databasePoolMax).toBe(3);
  // No floor lifts what the operator allowed.
  expect(takeShare(read(2, { DATABASE_POOL_MAX: '2' })).databasePoolMax).toBe(2);
});
