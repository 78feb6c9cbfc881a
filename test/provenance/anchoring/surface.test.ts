import { Hono } from 'hono';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { NO_SIBLINGS } from '../../../src/core/siblings.ts';
import type { Env } from '../../../src/http/env.ts';
import { answerProblem } from '../../../src/http/problems.ts';
import { anchorRoutes } from '../../../src/http/routes/anchors.ts';
import { metricsRoutes } from '../../../src/http/routes/metrics.ts';
import { type AnchorLab, type LabChain, type LabGateway, openLab, renewChain, startLabChain } from './lab.ts';

let node: LabChain;
let chain: LabChain;
let lab: AnchorLab;

beforeAll(async () => {
  node = await startLabChain();
});
afterAll(() => node.close());
beforeEach(async () => {
  chain = await renewChain(node);
  lab = await openLab(chain);
});
afterEach(() => lab.close());

function serve({ logs, anchoring }: LabGateway) {
  const { anchors } = anchoring;
  const load = () => ({
    running: 2,
    waiting: 3,
    turnedAway: 4,
    waitingJails: { ready: 0, starting: 0, memoryBytes: 0 },
  });
  const told = { clock: systemClock, log: silentLog, siblings: NO_SIBLINGS, execution: { load } };
  const app = new Hono<Env>();
  app.route('/', anchorRoutes({ anchors }));
  app.route('/', metricsRoutes({ ...told, logs, anchors }));
  app.onError((error, c) => answerProblem(silentLog, error, c));
  return async (path: string) => {
    const response = await app.request(path, {}, { requestId: 'test' });
    return { status: response.status, text: await response.text() };
  };
}

/** The value of each sample of our own. */
function readSamples(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line.startsWith('millicent_'));
  return Object.fromEntries(lines.map((line) => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])]));
}

test('GET /anchors lists the newest first, with what finds each on its chain, and the targets', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  for (let round = 0; round < 2; round += 1) {
    await gateway.grow(2);
    await gateway.settle();
  }
  await gateway.grow(2);
  await gateway.tick();
  const get = serve(gateway);
  const { status, text } = await get('/anchors?log=versions');
  expect(status).toBe(200);
  const body = JSON.parse(text);
  const [first, second] = await chain.readAnchors();
  const final = {
    ...{ state: 'final', has_state_proof: true },
    chain_id: 84_532,
    contract: chain.contracts.versions,
  };
  expect(body.anchors).toMatchObject([
    { tree_size: 8, prev_size: 6, has_state_proof: false },
    { ...final, tree_size: 6, prev_size: 4, root: second?.root, anchor_index: 1 },
    { ...final, tree_size: 4, prev_size: 0, root: first?.root, anchor_index: 0 },
  ]);
  const [, , oldest] = body.anchors;
  const receipt = (await chain.anvil.rpc('eth_getTransactionReceipt', [oldest.tx_hash])) as Record<
    string,
    string
  >;
  expect(receipt).toMatchObject({ blockHash: oldest.block_hash, status: '0x1' });
  expect(Number(receipt.blockNumber)).toBe(oldest.block_number);
  expect(oldest.time).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
  expect(body.targets).toMatchObject([
    { log: 'versions', chain_id: 84_532, anchored_size: 6, anchored_at: body.anchors[1].time },
  ]);
  expect(JSON.parse((await get('/anchors?limit=1')).text)).toMatchObject({
    anchors: [{ tree_size: 8 }],
    targets: [{ log: 'versions' }, { log: 'receipts', anchored_size: 0, anchored_at: null, state: 'ok' }],
  });
});

test('GET /anchors with a query that it does not know is refused with a reason', async () => {
  const get = serve(lab.gateway());
  for (const query of ['limit=0', 'limit=101', 'limit=many', 'log=other', 'chain=1']) {
    const { status, text } = await get(`/anchors?${query}`);
    expect([query, status]).toEqual([query, 400]);
    expect(JSON.parse(text).detail).toMatch(/limit|log|chain/);
  }
});

test('GET /metrics tells how long the logs are, what is signed and anchored, and how old that is', async () => {
  const gateway = lab.gateway();
  const get = serve(gateway);
  await gateway.tick();
  const early = readSamples((await get('/metrics')).text);
  expect(early).toMatchObject({
    'millicent_log_tree_size{log="versions"}': 2,
    'millicent_log_signed_size{log="versions"}': 0,
    'millicent_anchor_tree_size{log="versions",chain="84532"}': 0,
  });
  expect(early).not.toHaveProperty(['millicent_anchor_age_seconds{log="versions",chain="84532"}']);
  await gateway.grow(3);
  await gateway.settle();
  const { status, text } = await get('/metrics');
  expect(status).toBe(200);
  expect(text).toContain('process_cpu_seconds_total');
  const samples = readSamples(text);
  expect(samples).toMatchObject({
    'millicent_log_tree_size{log="versions"}': 5,
    'millicent_log_signed_size{log="versions"}': 5,
    'millicent_log_diverged{log="versions"}': 0,
    'millicent_anchor_tree_size{log="versions",chain="84532"}': 5,
    'millicent_anchor_diverged{log="versions",chain="84532"}': 0,
  });
  expect(samples['millicent_anchor_age_seconds{log="versions",chain="84532"}']).toBeLessThan(600);
});

test('a diverged log shows in the metrics and in GET /anchors', async () => {
  const gateway = lab.gateway();
  await gateway.tick();
  await gateway.grow(3);
  await gateway.settle();
  const other = await openLab(chain);
  try {
    const fork = other.gateway();
    await fork.grow(9);
    await fork.tick();
    const get = serve(fork);
    expect(readSamples((await get('/metrics')).text)).toMatchObject({
      'millicent_log_diverged{log="versions"}': 1,
      'millicent_log_diverged{log="receipts"}': 0,
      'millicent_anchor_diverged{log="versions",chain="84532"}': 1,
    });
    expect(JSON.parse((await get('/anchors')).text)).toMatchObject({
      anchors: [],
      targets: [{ log: 'versions', state: 'diverged', detail: expect.any(String) }, { log: 'receipts' }],
    });
  } finally {
    await other.close();
  }
});

test('a scrape is answered while the chain and the database are away', async () => {
  const gateway = lab.gateway();
  const get = serve(gateway);
  await gateway.tick();
  await gateway.grow(3);
  chain.proxy.decide(() => 'hold');
  expect(readSamples((await get('/metrics')).text)).toHaveProperty(
    ['millicent_log_tree_size{log="versions"}'],
    5,
  );
  const { logs, anchoring } = gateway;
  const never = () => new Promise<never>(() => {});
  const stuck: LabGateway = {
    ...gateway,
    logs: { ...logs, versions: { ...logs.versions, readHead: never } },
    anchoring: {
      ...anchoring,
      anchors: { ...anchoring.anchors, status: () => Promise.reject(new Error('away')) },
    },
  };
  const startedAt = performance.now();
  const { status, text } = await serve(stuck)('/metrics');
  expect(status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  expect(readSamples(text)).toHaveProperty(['millicent_log_diverged{log="versions"}'], 0);
  chain.proxy.decide(() => 'pass');
});
