import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readBooks, tokenBalance } from './fixtures.ts';
import { runCommand } from './stock-clients-child.ts';
import { expectReconciled, startWorld, type World } from './stock-clients-world.ts';

let world: World;
/** What the command finds in its surroundings: nothing of this machine, and wallets for the rails here. */
let environment: Record<string, string>;
const home = mkdtempSync(join(tmpdir(), 'millicent-mppx-'));

beforeAll(async () => {
  world = await startWorld();
  const { anvil, tempo, stripe } = world.rails;
  const [evmKey, tempoKey] = [generatePrivateKey(), await tempo.fundPayer()];
  await anvil.mint(privateKeyToAddress(evmKey), 10_000_000n);
  environment = {
    ...{ HOME: home, MPPX_CONFIG: join(import.meta.dirname, 'clients/mppx.config.mjs') },
    ...{ EVM_KEY: evmKey, TEMPO_KEY: tempoKey, TEMPO_RPC_URL: tempo.rpcUrl },
    ...{ STRIPE_API_BASE: stripe.apiBase, STRIPE_AGENT_KEY: stripe.agentKey },
  };
});
afterAll(async () => {
  await world?.close();
  rmSync(home, { recursive: true, force: true });
});

const checkSchema = z.object({
  label: z.string(),
  severity: z.enum(['pass', 'fail', 'warn', 'suggested', 'skip']),
  detail: z.string().optional(),
});
const reportSchema = z.object({
  discovery: z.object({ found: z.boolean(), valid: z.boolean(), checks: z.array(checkSchema) }),
  endpoints: z.array(
    z.object({
      ...{ method: z.string(), path: z.string() },
      ...{ challenge: z.array(checkSchema), errorHandling: z.array(checkSchema) },
      payment: z.array(checkSchema),
    }),
  ),
  summary: z.object({ passed: z.number(), failed: z.number(), warnings: z.number() }),
});
type Check = z.infer<typeof checkSchema>;
type Report = z.infer<typeof reportSchema>;

const COMMAND = resolve(import.meta.dirname, '../../node_modules/mppx/dist/bin.js');

/** `npx mppx validate <args>`: what it reports, and that it exits well. */
async function validate(...args: string[]): Promise<Report> {
  const output = await run('validate', ...args, '--yes', '--output-json');
  return reportSchema.parse(JSON.parse(output));
}

/** `npx mppx <args>`. */
function run(...args: string[]): Promise<string> {
  return runCommand(process.execPath, [COMMAND, ...args], environment);
}

const flaws = (checks: Check[]) => checks.filter(({ severity }) => severity !== 'pass');

/** Each endpoint is without a flaw, and each of these methods has paid for it and got a receipt. */
function expectFlawless(report: Report, methods: string[]): void {
  for (const { method, path, challenge, errorHandling, payment } of report.endpoints) {
    const place = `${method} ${path}`;
    expect(flaws([...challenge, ...errorHandling, ...payment]), place).toEqual([]);
    const labels = payment.map(({ label }) => label);
    expect(labels, place).toEqual(
      expect.arrayContaining(methods.map((name) => `Payment [${name}]: submitted`)),
    );
    for (const label of ['Payment: successful', 'Payment-Receipt header present', 'Receipt parseable']) {
      expect(labels.filter((each) => each === label).length, `${place}: ${label}`).toBe(methods.length);
    }
  }
}

describe.each([
  ['whatever the client says it accepts', []],
  ['with Accept-Payment', ['-H', 'accept-payment:*/*']],
])('npx mppx validate finds no fault, %s', (_, header) => {
  test('in the whole gateway: its documents, its challenges, its refusals, and what it gives who pays', async () => {
    const report = await validate(world.gateway.url, ...header);
    expect(report.discovery).toMatchObject({ found: true, valid: true });
    expect(flaws(report.discovery.checks)).toEqual([]);
    expect(report.endpoints.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([
      ...['GET /v1/example', 'POST /v1/example', 'POST /v1/signup'],
    ]);
    expectFlawless(report, ['evm', 'tempo']);
  });

  test.each([
    ['GET:/v1/example', []],
    ['POST:/v1/example', ['--body', '{"name":"agent"}']],
    ['POST:/v1/signup', ['--body', '{}']],
  ])('in %s', async (endpoint, body) => {
    const report = await validate(world.gateway.url, '-e', endpoint, ...body, ...header);
    expect(report.endpoints.length).toBe(1);
    expectFlawless(report, ['evm', 'tempo']);
  });

  test('in a call of a published tool that a card can pay', async () => {
    const body = JSON.stringify({ tool: 'echo', arguments: { text: 'hello' } });
    const endpoint = ['-e', `POST:${world.dearTool.call}`, '--body', body];
    const report = await validate(world.gateway.url, ...endpoint, ...header);
    expectFlawless(report, ['evm', 'tempo', 'stripe']);
  });

  test('in a top-up beside its key, which it forgets when it sends a broken credential', async () => {
    const key = await world.gateway.mint(0);
    const endpoint = ['-e', 'POST:/v1/topup', '--body', '{"amount_mcents":60000}'];
    const beside = ['-H', `authorization:Bearer ${key}`];
    const report = await validate(world.gateway.url, ...endpoint, ...beside, ...header);
    const [topUp] = report.endpoints;
    expect(topUp?.errorHandling).toMatchObject([{ severity: 'warn', detail: 'Got 401' }]);
    const others = report.endpoints.map((each) => ({ ...each, errorHandling: [] }));
    expectFlawless({ ...report, endpoints: others }, ['evm', 'tempo', 'stripe']);
    const balance = await world.gateway.fetch('/v1/balance', { headers: { authorization: `Bearer ${key}` } });
    expect(await balance.json()).toMatchObject({ balance_mcents: 180_000 });
  });
});

test.each(['mpp', 'x402'])('npx mppx <url> pays by %s and prints what it bought', async (protocol) => {
  const { anvil } = world.rails;
  const before = await tokenBalance(anvil, anvil.payTo);
  const args = ['--json-body', '{}', '--protocol', protocol, '--silent'];
  const output = await run(`${world.gateway.url}/v1/signup`, ...args);
  expect(JSON.parse(output)).toMatchObject({ ok: true, balance_mcents: 10_000 });
  expect((await tokenBalance(anvil, anvil.payTo)) - before).toBe(100_000n);
});

test('npx mppx discover validate finds nothing to complain of', async () => {
  const output = await run('discover', 'validate', `${world.gateway.url}/openapi.json`);
  expect(output).not.toMatch(/\[(?:error|warning)\]/);
  expect(output).toContain('valid');
});

test('after all of it every rail agrees with the books to the last unit', async () => {
  expect(await readBooks(world.gateway)).toMatchObject({ balanced: true, discrepancies: [] });
  await expectReconciled(world, ['evm', 'tempo', 'stripe']);
});
