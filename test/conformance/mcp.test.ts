import { afterAll, beforeAll, expect, test } from 'vitest';
import { publishEverything } from '../e2e/mcp-fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS } from '../stock-clients/ensure.ts';
import { failing, HANDSHAKE, passing, STATELESS, TASKS } from './scenarios.ts';
import { runSuite } from './suites.ts';

const RUN_TIMEOUT_MS = 300_000;
let database: TestDatabase;
let gateway: TestGateway;
let url: string;

beforeAll(async () => {
  await ensureStockClients();
  database = await createTestDatabase({ poolMax: 4 });
  gateway = await startTestGateway({ database });
  url = (await publishEverything(gateway, { model: 'free' })).endpoint;
}, STOCK_CLIENTS_TIMEOUT_MS + 60_000);
afterAll(async () => {
  await gateway.close();
  await database.close();
});

test('the conformance suite of the 2025 revisions finds nothing wrong with a hosted server', {
  timeout: RUN_TIMEOUT_MS,
}, async () => {
  const results = await runSuite('mcp-conformance-1', ['--url', url, '--suite', 'all']);
  expect(failing(results)).toEqual([]);
  // "server-sse-polling" finds nothing to test: streams cannot be taken up again here, and say so by having no ids.
  expect(passing(results)).toEqual([...HANDSHAKE].sort());
});

test('the newer suite finds all that 2025-11-25 requires', { timeout: RUN_TIMEOUT_MS }, async () => {
  const results = await runSuite('mcp-conformance-2', ['--url', url, '--requirements', '2025-11-25']);
  expect(failing(results)).toEqual([]);
  // A session is a sealed token, so that there is nothing to end: DELETE is 405, as the revision allows.
  expect(passing(results)).toEqual([...HANDSHAKE, 'server-session-lifecycle'].sort());
});

test('the newer suite finds all that 2026-07-28 requires', { timeout: RUN_TIMEOUT_MS }, async () => {
  const results = await runSuite('mcp-conformance-2', ['--url', url, '--requirements', '2026-07-28']);
  expect(failing(results).filter((scenario) => !TASKS.test(scenario))).toEqual([]);
  expect(passing(results)).toEqual([...STATELESS].sort());
});
