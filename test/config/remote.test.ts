import { expect, test } from 'vitest';
import { readRemote } from '../../src/config/remote.ts';

test('production never lets publishers reach this machine', () => {
  const environment = { REMOTE_ALLOW_LOOPBACK: 'yes', REMOTE_CONNECTIONS: 8 } as const;
  expect(() => readRemote({ ...environment, NODE_ENV: 'production' })).toThrow(/REMOTE_ALLOW_LOOPBACK/);
  expect(readRemote({ ...environment, NODE_ENV: 'development' })).toEqual({
    allowLoopback: true,
    connectionsMax: 8,
  });
  expect(
    readRemote({ ...environment, NODE_ENV: 'production', REMOTE_ALLOW_LOOPBACK: 'no' }).allowLoopback,
  ).toBe(false);
});
