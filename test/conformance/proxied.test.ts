import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listOwn, type OwnServer } from '../e2e/own-servers.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS } from '../stock-clients/ensure.ts';
import { startBridge } from './bridge.ts';
import { failing, HANDSHAKE, passing, STATELESS, TASKS } from './scenarios.ts';
import { runSuite } from './suites.ts';

const EVERYTHING = join(import.meta.dirname, 'servers/everything.py');
const RUN_TIMEOUT_MS = 300_000;
let database: TestDatabase;
let gateway: TestGateway;
let own: OwnServer;
let url: string;

beforeAll(async () => {
  await ensureStockClients();
  [database, own] = await Promise.all([createTestDatabase({ poolMax: 4 }), startBridge(EVERYTHING)]);
  gateway = await startTestGateway({ database, env: { SANDBOX: 'none', REMOTE_ALLOW_LOOPBACK: 'yes' } });
  const { path } = await listOwn(gateway, own, { change: { pricing: { model: 'free' } } });
  url = gateway.url + path;
}, STOCK_CLIENTS_TIMEOUT_MS + 60_000);
afterAll(async () => {
  await gateway.close();
  await own.close();
  await database.close();
});

test("the conformance suite of the 2025 revisions finds nothing wrong with a publisher's own server", {
  timeout: RUN_TIMEOUT_MS,
}, async () => {
  const results = await runSuite('mcp-conformance-1', ['--url', url, '--suite', 'all']);
  expect(failing(results)).toEqual([]);
  expect(passing(results)).toEqual([...HANDSHAKE].sort());
});

test('the newer suite finds all that 2025-11-25 requires of one', { timeout: RUN_TIMEOUT_MS }, async () => {
  const results = await runSuite('mcp-conformance-2', ['--url', url, '--requirements', '2025-11-25']);
  expect(failing(results)).toEqual([]);
  expect(passing(results)).toEqual([...HANDSHAKE, 'server-session-lifecycle'].sort());
});

test('the newer suite finds all that 2026-07-28 requires of one', { timeout: RUN_TIMEOUT_MS }, async () => {
  const results = await runSuite('mcp-conformance-2', ['--url', url, '--requirements', '2026-07-28']);
  expect(failing(results).filter((scenario) => !TASKS.test(scenario))).toEqual([]);
  expect(passing(results)).toEqual([...STATELESS].sort());
});
