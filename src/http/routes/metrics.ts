import { setTimeout as sleep } from 'node:timers/promises';
import { Hono } from 'hono';
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { createMemo } from '../../core/memo.ts';
import { shareRun } from '../../core/share-run.ts';
import type { Siblings } from '../../core/siblings.ts';
import type { Execution } from '../../execution/index.ts';
import type { Anchors, Logs } from '../../provenance/index.ts';
import type { App, Env } from '../env.ts';

export type MetricsDeps = {
  logs: Logs;
  anchors: Anchors;
  execution: Pick<Execution, 'load'>;
  clock: Clock;
  log: Log;
  siblings: Siblings;
};

/** A scrape waits for the database no longer than that; what it does not know by then is left out. */
const READ_MS = 2_000;

const TOPIC = 'metrics';

/**
 * What Prometheus scrapes: the process, or all workers' added up, and the logs and their anchors, which are the same
 * whoever measures them. A scrape never fails for what it measures.
 */
export function metricsRoutes(deps: MetricsDeps): App {
  const app = new Hono<Env>();
  // Made by the first scrape: it listens to the garbage collector from then on.
  const metricsOf = createMemo<Metrics>(1);
  const ours = () => metricsOf('process', () => createMetrics(deps));
  deps.siblings.answer(TOPIC, () => ours().own.getMetricsAsJSON());
  // Nobody is refused here: a flood of scrapes is measured for once at a time.
  const scrape = shareRun(async () => {
    const { own, shared, measure } = ours();
    const [, theirs] = await Promise.all([measure(), deps.siblings.ask(TOPIC)]);
    const all = addUp([await own.getMetricsAsJSON(), ...theirs]);
    const text = [await all.metrics(), await shared.metrics()].join('\n');
    return { text, type: shared.contentType };
  });
  app.get('/metrics', async (c) => {
    const { text, type } = await scrape();
    return c.body(text, 200, { 'content-type': type });
  });
  return app;
}

type Metrics = {
  /** What this process alone is measured by. */
  own: Registry;
  /** What every worker would measure alike. */
  shared: Registry;
  measure(): Promise<void>;
};

/** Each metric in its own way: seconds are added, delays averaged. */
function addUp(metrics: unknown[]): Registry {
  // Workers answer with what this same program made of its registry.
  return AggregatorRegistry.aggregate(metrics as Parameters<typeof AggregatorRegistry.aggregate>[0]);
}

function createMetrics(deps: MetricsDeps): Metrics {
  const [own, shared] = [new Registry(), new Registry()];
  collectDefaultMetrics({ register: own });
  measureSandbox(own, deps.execution);
  const gauge = (name: string, help: string, labelNames: string[]) =>
    new Gauge({ name: `millicent_${name}`, help, labelNames, registers: [shared] });
  const [log, target] = [['log'], ['log', 'chain']];
  const logs: LogGauges = {
    treeSize: gauge('log_tree_size', 'Leaves in the log.', log),
    signedSize: gauge('log_signed_size', 'Leaves under the newest checkpoint.', log),
    diverged: gauge('log_diverged', '1 when the log is not what was signed or anchored.', log),
  };
  const anchors: AnchorGauges = {
    treeSize: gauge('anchor_tree_size', 'Leaves under the newest final anchor.', target),
    age: gauge('anchor_age_seconds', 'Since the newest final anchor was mined.', target),
    diverged: gauge('anchor_diverged', '1 when the log is not what was anchored there.', target),
  };
  // How many answered can be fewer than there are: a worker that just starts again, or stands still.
  gauge('workers', 'Gateway processes behind this port.', []).set(deps.siblings.count);
  return {
    own,
    shared,
    async measure() {
      for (const each of [...Object.values(logs), ...Object.values(anchors)]) each.reset();
      await Promise.all([
        orNot(deps, () => measureLogs(deps, logs)),
        orNot(deps, () => measureAnchors(deps, anchors)),
      ]);
    },
  };
}

/** Read when a scrape comes. */
function measureSandbox(own: Registry, { load }: MetricsDeps['execution']): void {
  const registers = [own];
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `millicent_sandbox_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('running', 'Calls in the sandbox.', () => load().running);
  gauge('waiting', 'Calls that wait for a place in it.', () => load().waiting);
  new Counter({
    name: 'millicent_sandbox_turned_away_total',
    help: 'How often no place was found in it.',
    registers,
    collect() {
      this.reset();
      this.inc(load().turnedAway);
    },
  });
}

type LogGauges = { treeSize: Gauge; signedSize: Gauge; diverged: Gauge };

async function measureLogs({ logs }: MetricsDeps, gauges: LogGauges): Promise<void> {
  // That a log diverged is known without the database.
  for (const log of Object.values(logs)) {
    gauges.diverged.set({ log: log.name }, log.health().kind === 'diverged' ? 1 : 0);
  }
  for (const log of Object.values(logs)) {
    const [head, checkpoint] = await Promise.all([log.readHead(), log.findCheckpoint()]);
    gauges.treeSize.set({ log: log.name }, head.treeSize);
    gauges.signedSize.set({ log: log.name }, checkpoint?.treeSize ?? 0);
  }
}

type AnchorGauges = { treeSize: Gauge; age: Gauge; diverged: Gauge };

async function measureAnchors({ anchors, clock }: MetricsDeps, gauges: AnchorGauges): Promise<void> {
  for (const { log, chainId, anchoredSize, anchoredAt, health } of await anchors.status()) {
    const target = { log, chain: String(chainId) };
    gauges.treeSize.set(target, anchoredSize);
    gauges.diverged.set(target, health.kind === 'diverged' ? 1 : 0);
    // What was never anchored has no age.
    if (anchoredAt) gauges.age.set(target, (clock.now().getTime() - anchoredAt.getTime()) / 1_000);
  }
}

/** Ends in time, whatever `measure` does. */
async function orNot({ log }: MetricsDeps, measure: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const measured = measure().catch((cause: unknown) => {
    log.debug({ cause }, 'a scrape left something out');
  });
  await Promise.race([measured, sleep(READ_MS, undefined, { signal: stop.signal }).catch(() => {})]);
  stop.abort();
}
