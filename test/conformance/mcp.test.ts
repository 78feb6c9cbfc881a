import { afterAll, beforeAll, expect, test } from 'vitest';
import { publishEverything } from '../e2e/mcp-fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS } from '../stock-clients/ensure.ts';
import { type Results, runSuite } from './suites.ts';

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

const failing = (results: Results) =>
  Object.entries(results).flatMap(([scenario, { failed }]) => (failed > 0 ? [scenario] : []));
const passing = (results: Results) =>
  Object.entries(results)
    .flatMap(([scenario, { passed, failed }]) => (failed === 0 && passed > 0 ? [scenario] : []))
    .sort();

/** What every revision has, as the suites name it. */
const EVERYWHERE = [
  ...[
    'completion-complete',
    'dns-rebinding-protection',
    'json-schema-2020-12',
    'prompts-get-embedded-resource',
  ],
  ...['prompts-get-simple', 'prompts-get-with-args', 'prompts-get-with-image', 'prompts-list'],
  ...['resources-list', 'resources-read-binary', 'resources-read-text', 'resources-templates-read'],
  ...['server-sse-multiple-streams', 'tools-call-audio', 'tools-call-embedded-resource', 'tools-call-error'],
  ...['tools-call-image', 'tools-call-mixed-content', 'tools-call-simple-text', 'tools-call-with-progress'],
  'tools-list',
];

const HANDSHAKE = [
  ...EVERYWHERE,
  ...['elicitation-sep1034-defaults', 'elicitation-sep1330-enums', 'logging-set-level', 'ping'],
  ...['resources-subscribe', 'resources-unsubscribe', 'server-initialize', 'tools-call-elicitation'],
  ...['tools-call-sampling', 'tools-call-with-logging'],
];

const STATELESS = [
  ...EVERYWHERE,
  ...['caching', 'http-custom-header-server-validation', 'http-header-validation'],
  ...[
    'basic-elicitation',
    'basic-list-roots',
    'basic-sampling',
    'capability-check',
    'ignore-extra-params',
  ].map((name) => `input-required-result-${name}`),
  ...['missing-input-response', 'multi-round', 'multiple-input-requests', 'non-tool-request'].map(
    (name) => `input-required-result-${name}`,
  ),
  ...['request-state', 'result-type', 'tampered-state', 'unsupported-methods', 'validate-input'].map(
    (name) => `input-required-result-${name}`,
  ),
  ...['sep-2164-resource-not-found', 'server-stateless'],
];

/**
 * Tasks are an extension that is not offered here: a task outlives its call, and what a call starts does not. The
 * suite runs these for information, and not as part of what the revision requires.
 */
const TASKS = /^tasks-/;

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
