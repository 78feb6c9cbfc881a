import { afterEach, beforeEach, expect, test } from 'vitest';
import { createTestDatabase, loseDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
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

const callWith = (headers: Record<string, string> = {}) =>
  gateway.fetch('/v1/example', jsonBody({ label: 'one' }, { authorization: `Bearer ${key}`, ...headers }));

test('without a database a request is told to come again, and never that we made a mistake', async () => {
  const mend = await loseDatabase(database);
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
  const mend = await loseDatabase(database);
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
