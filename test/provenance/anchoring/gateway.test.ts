import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DevAnchors, deployAnchors } from '../../../scripts/dev/anchors.ts';
import { silentLog } from '../../../src/core/log.ts';
import { until } from '../../chain/lab.ts';
import { type Anvil, startAnvil } from '../../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../../harness/database.ts';
import { startTestGateway, type TestGateway } from '../../harness/gateway.ts';

let anvil: Anvil;
let database: TestDatabase;
let anchors: DevAnchors;
const gateways: TestGateway[] = [];

beforeAll(async () => {
  [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase({ poolMax: 4 })]);
  anchors = await deployAnchors(anvil);
});
afterAll(async () => {
  for (const gateway of gateways) await gateway.close();
  await Promise.all([anvil.close(), database.close()]);
});

async function start(): Promise<TestGateway> {
  const gateway = await startTestGateway({ database, anvil, env: anchors.environment });
  gateways.push(gateway);
  return gateway;
}

type Listing = { anchors: { state: string; log: string; tree_size: number }[]; targets: { state: string }[] };
const read = async <T>(gateway: TestGateway, path: string) => (await (await gateway.fetch(path)).json()) as T;

test('two gateways as they are started anchor their logs once, and say so on every page that tells', async () => {
  const [first, second] = await Promise.all([start(), start()]);
  const final = await until(async () => {
    await anvil.rpc('anvil_mine', ['0x1']);
    const listing = await read<Listing>(second, '/anchors?log=versions');
    return listing.anchors.some(({ state }) => state === 'final') ? listing : undefined;
  }, 50_000);
  const sizes = final.anchors.map(({ tree_size }) => tree_size);
  expect(new Set(sizes).size).toBe(sizes.length);
  for (const gateway of [first, second]) {
    const ready = await until(async () => {
      const { checks } = await read<{ checks: Record<string, string> }>(gateway, '/ready');
      return checks.anchor_84532 === 'ok' ? checks : undefined;
    }, 30_000);
    expect(ready).toMatchObject({ log_versions: 'ok', log_receipts: 'ok' });
    const metrics = await (await gateway.fetch('/metrics')).text();
    expect(metrics).toMatch(/^millicent_anchor_tree_size\{log="versions",chain="84532"\} [1-9]/m);
    expect(metrics).toContain('millicent_log_diverged{log="versions"} 0');
  }
});
