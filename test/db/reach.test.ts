import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { reachDatabase } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ isEmpty: true });
});
afterAll(() => database.close());

const log = silentLog;

/** A port that nobody listens on. */
async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address ? address.port : 0;
}

/** Where the database of the tests is, for a door of our own in front of it. */
function readTarget(url: string): { path: string } | { host: string; port: number } {
  const { hostname, port, searchParams } = new URL(url);
  const folder = searchParams.get('host');
  const at = Number(port || 5432);
  return folder ? { path: `${folder}/.s.PGSQL.${at}` } : { host: hostname, port: at };
}

function throughPort(port: number): string {
  const url = new URL(database.url);
  url.searchParams.delete('host');
  url.hostname = '127.0.0.1';
  url.port = String(port);
  return url.href;
}

test('a database that is up is reached at once', async () => {
  expect(await reachDatabase({ url: database.url, log, waitMs: 0 })).toBeUndefined();
});

test('one that is up later is waited for', async () => {
  const port = await findFreePort();
  const reaching = reachDatabase({ url: throughPort(port), log });
  await sleep(1_200);
  const door = createServer((inner) => {
    const outer = connect(readTarget(database.url));
    inner.on('error', () => outer.destroy()).pipe(outer);
    outer.on('error', () => inner.destroy()).pipe(inner);
  }).listen(port, '127.0.0.1');
  try {
    expect(await reaching).toBeUndefined();
  } finally {
    door.close();
  }
});

test('one that never is there ends the waiting, in one line that names no password', async () => {
  const url = `postgres://somebody:hunter2@127.0.0.1:${await findFreePort()}/none`;
  const reason = await reachDatabase({ url, log, waitMs: 600 });
  expect(reason).toMatch(/^connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
});

test('one that there is none of is not waited for', async () => {
  const url = new URL(database.url);
  url.pathname = '/there_is_none';
  const waitMs = 3_600_000;
  expect(await reachDatabase({ url: url.href, log, waitMs })).toBe('database "there_is_none" does not exist');
});

test('one that takes connections and hangs up is given up', async () => {
  const door = createServer((socket) => {
    socket.on('error', () => {}).once('data', () => socket.end());
  }).listen(0, '127.0.0.1');
  await once(door, 'listening');
  const address = door.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  try {
    const reason = await reachDatabase({ url: throughPort(port), log, waitMs: 0 });
    expect(reason).toBe(`write CONNECTION_CLOSED 127.0.0.1:${port}`);
  } finally {
    door.close();
  }
});

test('an address that cannot be read is not repeated', async () => {
  for (const url of ['postgres://u:se/cret@h/x', 'postgres://u:se%cret@h/x']) {
    expect(await reachDatabase({ url, log })).toMatch(/^it is no address; /);
  }
});

test('a name with two addresses is told with the failure of each, and waited for when one may pass', async () => {
  const port = await findFreePort();
  const reason = await reachDatabase({ url: `postgres://u@localhost:${port}/x`, log, waitMs: 0 });
  expect(reason).toMatch(/^(?:connect E\w+ \S+(?:; |$))+$/);
});
