import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { jsonBody, readAnswer } from './fixtures.ts';

let database: TestDatabase;
let gateway: TestGateway;
let key: string;

beforeEach(async () => {
  database = await createTestDatabase();
  gateway = await startTestGateway({ database });
  key = await gateway.mint(1_000, ['example', 'read']);
});
afterEach(async () => {
  await gateway.close();
  await database.close();
});

/** Hangs up on everybody and lets nobody in, as a server does that is not there; the answer lets them in again. */
async function loseDatabase(): Promise<() => Promise<void>> {
  const name = new URL(database.url).pathname.slice(1);
  const address = new URL(database.url);
  address.pathname = '/postgres';
  const operator = openDatabase({ url: address.href, poolMax: 1, applicationName: 'operator' });
  const { sql } = operator;
  await sql`ALTER DATABASE ${sql(name)} ALLOW_CONNECTIONS false`;
  await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${name}`;
  return async () => {
    await sql`ALTER DATABASE ${sql(name)} ALLOW_CONNECTIONS true`;
    await operator.close();
    await waitUntil(() => database.sql`SELECT 1`.then(() => true).catch(() => false));
  };
}

const callWith = (headers: Record<string, string> = {}) =>
  gateway.fetch('/v1/example', jsonBody({ label: 'one' }, { authorization: `Bearer ${key}`, ...headers }));

test('without a database a request is told to come again, and never that we made a mistake', async () => {
  const mend = await loseDatabase();
  const headers = { authorization: `Bearer mcp_${'ab'.repeat(24)}` };
  try {
    for (const path of ['/v1/calls', '/v1/balance', `/receipts/${crypto.randomUUID()}`, '/v1/keys']) {
      const response = await gateway.fetch(path, { headers });
      const answer = await readAnswer(response);
      expect([path, response.status, response.headers.get('retry-after')]).toEqual([path, 503, '5']);
      expect(answer.type).toMatch(/\/unavailable$/);
    }
  } finally {
    await mend();
  }
});

test('a call that loses the database is told its receipt, and asked for again it is answered and charged once', async () => {
  expect((await callWith()).status).toBe(200);
  const mend = await loseDatabase();
  const lost = [await callWith(), await callWith({ 'idempotency-key': 'k' })];
  await mend();
  for (const response of lost) {
    const answer = await readAnswer(response);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5']);
    expect(answer.type).toMatch(/\/outcome-unknown$/);
    expect(answer.receipt_id).toMatch(/^[0-9a-f-]{36}$/);
  }
  const again = await callWith({ 'idempotency-key': 'k' });
  expect(again.status).toBe(200);
  const charged = await database.sql`SELECT id FROM ledger_hold WHERE state = 'captured'`;
  expect(charged).toHaveLength(2);
});
