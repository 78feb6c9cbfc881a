import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho } from './fixtures.ts';

let anvil: Anvil;
let database: TestDatabase;
let gateway: TestGateway;

type Asset = { account: string; verdict: string; booked: string; external: string; difference: string };
type Report = { reconciled: boolean; assets: Asset[]; unreachable: { rail: string }[] };

beforeAll(async () => {
  [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase()]);
  // Money of the operator's own, from before the gateway's first start.
  await anvil.mint(anvil.payTo, 1_234_567n);
  gateway = await startTestGateway({ database, anvil });
  const tool = await publishEcho(gateway);
  const agent = await createAgent(anvil);
  const call = jsonBody({ tool: 'echo', arguments: { text: 'hello' } });
  for (let n = 0; n < 3; n += 1) {
    const answer = await agent.fetch(`${gateway.url}${tool.call}`, call);
    expect(answer.status).toBe(200);
  }
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
  await anvil?.close();
});

const headers = () => ({ 'x-admin-key': gateway.adminKey });

async function readReport(): Promise<Report> {
  const response = await gateway.fetch('/v1/admin/reconcile', { headers: headers() });
  expect(response.status).toBe(200);
  return (await response.json()) as Report;
}

test('after paid calls the chain and the books agree to the last unit, tokens and gas alike', async () => {
  const report = await readReport();
  expect(report).toMatchObject({ reconciled: true, unreachable: [] });
  const token = report.assets.find(({ account }) => account.startsWith('A.evm:'));
  expect(token).toMatchObject({ verdict: 'agrees', booked: '7500', external: String(1_234_567 + 7_500) });
  const gas = report.assets.find(({ account }) => account.startsWith('A.gas:'));
  expect(gas).toMatchObject({ verdict: 'agrees', difference: '0' });
  expect(BigInt(gas?.booked ?? 0)).toBeLessThan(0n);
});

test('money moved by hand shows as a difference, until the operator takes it for its own doing', async () => {
  await anvil.mint(anvil.payTo, 77n);
  const report = await readReport();
  expect(report.reconciled).toBe(false);
  expect(report.assets.filter(({ verdict }) => verdict === 'differs')).toMatchObject([{ difference: '77' }]);
  const adopt = () =>
    gateway.fetch('/v1/admin/reconcile/adopt', jsonBody({ name: 'refill 2026-11' }, headers()));
  expect(await (await adopt()).json()).toMatchObject({ reconciled: true });
  expect(await (await adopt()).json()).toMatchObject({ reconciled: true });
});

test('only the operator sees the report', async () => {
  expect((await gateway.fetch('/v1/admin/reconcile')).status).toBe(401);
  expect((await gateway.fetch('/v1/admin/reconcile/adopt', jsonBody({ name: 'x' }))).status).toBe(401);
});
