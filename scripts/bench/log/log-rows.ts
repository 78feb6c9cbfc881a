import { randomInt } from 'node:crypto';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { openDatabase, type Sql, withTransaction } from '../../../src/db/index.ts';
import {
  type Checkpoint,
  createLog,
  dedupKeyOf,
  encodeLeaf,
  leafHashOf,
  newReceiptKeyPem,
  type PublishLeaf,
  type TransparencyLog,
  verifyInclusion,
} from '../../../src/provenance/index.ts';
import type { Plan } from '../plan.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Progress, type Variant } from '../rounds.ts';
import { type Finding, findEach, type Measured, type RowName } from '../targets.ts';

type LogRow = Extract<RowName, `log-${string}`>;
/** What one round saw of single steps, milliseconds. */
type Latency = { p50: number; p95: number };

const BATCH = 5_000;
const POOL = 4;
/** What a step may take, by which its time is told. */
const GOAL_MS = 10;
const MEGABYTE = 1_048_576;

/** Single appends to a long log, each committed to disk, and single proofs from it. */
export async function measureLog(
  { postgres, progress }: { postgres: ThrowAwayPostgres; progress: Progress },
  plan: Plan,
): Promise<Finding[]> {
  const rows = plan.rows.filter((row): row is LogRow => row.startsWith('log-'));
  if (rows.length === 0) return [];
  const url = await postgres.createDatabase('bench_log');
  const { sql, close } = openDatabase({ url, poolMax: POOL, applicationName: 'millicent-bench-log' });
  try {
    const log = createLog({
      ...{ sql, clock: systemClock, log: silentLog, name: 'versions', origin: 'bench.example' },
      ...{ keys: { currentPem: newReceiptKeyPem() } },
    });
    const loading = await load({ sql, log, progress }, plan.leaves);
    const signed = await log.sign();
    if (!signed) throw new Error('the log was not signed');
    const steps: Record<LogRow, () => Promise<void>> = {
      'log-append': () => append(sql, log, 1),
      'log-batch': () => append(sql, log, 256),
      'log-proof': () => prove(log, signed),
      'log-consistency': () => proveConsistency(log, signed),
    };
    const variants = rows.map((row) => toVariant(row, steps[row], plan));
    const samples = await measureRounds(variants, { rounds: plan.rounds, progress });
    // Every append of the rounds is in the tree that the last signature recomputes.
    const checkpoint = await log.sign();
    const note = `${plan.leaves.toLocaleString('en')} leaves, then ${checkpoint?.treeSize.toLocaleString('en')}; ${loading}`;
    return findEach(rows, (row) => toFigure(samples.of(row), note));
  } finally {
    await close();
  }
}

/** Fills the log in large batches, and says at which pace and in how much memory. */
async function load(
  { sql, log, progress }: { sql: Sql; log: TransparencyLog; progress: Progress },
  leaves: number,
): Promise<string> {
  const startedAt = performance.now();
  const early = Math.ceil(leaves / 10);
  let rssEarly = 0;
  let rssMost = 0;
  for (let done = 0; done < leaves; done += BATCH) {
    await append(sql, log, Math.min(BATCH, leaves - done));
    rssMost = Math.max(rssMost, process.memoryUsage.rss());
    if (done < early) rssEarly = rssMost;
    if (done % (leaves / 10) < BATCH) progress(`log: ${done.toLocaleString('en')} leaves`);
  }
  const pace = Math.round((leaves / (performance.now() - startedAt)) * 1_000);
  const megabytes = [rssEarly, rssMost].map((bytes) => Math.round(bytes / MEGABYTE));
  return `loaded at ${pace.toLocaleString('en')}/s, RSS ${megabytes[0]} MB at a tenth and ${megabytes[1]} MB at most`;
}

let published = 0;

async function append(sql: Sql, log: TransparencyLog, count: number): Promise<void> {
  const leaves = Array.from({ length: count }, () => leafAt(published++));
  const entries = leaves.map((leaf) => ({ entry: encodeLeaf(leaf), dedupKey: dedupKeyOf(leaf) }));
  await withTransaction(sql, (tx) => log.append(tx, entries));
}

function leafAt(index: number): PublishLeaf {
  return {
    ...{ kind: 'publish', tool: `bench/tool-${index}`, version: '1.0.0', publisher: 'bench' },
    ...{ sha256: 'ab'.repeat(32), manifest: 'cd'.repeat(32), time: 1_763_702_345 },
  };
}

/** An inclusion proof of a leaf drawn anew, verified against the root that was signed. */
async function prove(log: TransparencyLog, signed: Checkpoint): Promise<void> {
  const { treeSize, root } = signed;
  const leafIndex = randomInt(treeSize);
  const path = await log.proveInclusion({ leafIndex, treeSize });
  const leafHash = leafHashOf(encodeLeaf(leafAt(leafIndex)));
  if (!verifyInclusion({ index: leafIndex, treeSize, leafHash, path, root })) {
    throw new Error(`the log proved nothing about leaf ${leafIndex} of ${treeSize}`);
  }
}

/** A consistency proof from a size drawn anew, which its path must be long enough for. */
async function proveConsistency(log: TransparencyLog, { treeSize }: Checkpoint): Promise<void> {
  const fromSize = 1 + randomInt(treeSize - 1);
  const path = await log.proveConsistency({ fromSize, toSize: treeSize });
  if (path.length === 0) throw new Error(`the log proved nothing about size ${fromSize} of ${treeSize}`);
}

function toVariant(name: LogRow, step: () => Promise<void>, plan: Plan): Variant<Latency> {
  return { name, warm: () => time(step, plan.warmSeconds), measure: () => time(step, plan.seconds) };
}

async function time(step: () => Promise<void>, seconds: number): Promise<Latency> {
  const taken: number[] = [];
  const deadline = performance.now() + seconds * 1_000;
  do {
    const startedAt = performance.now();
    await step();
    taken.push(performance.now() - startedAt);
  } while (performance.now() < deadline);
  taken.sort((a, b) => a - b);
  return { p50: median(taken), p95: taken[Math.ceil(taken.length * 0.95) - 1] ?? Number.NaN };
}

function toFigure(samples: readonly Latency[], note: string): Omit<Measured, 'row'> {
  const p50 = samples.map((sample) => sample.p50);
  const p95 = samples.map((sample) => sample.p95);
  return {
    measured: compareRounds(
      p50,
      p50.map(() => GOAL_MS),
    ),
    ours: `p50 ${median(p50).toFixed(2)} ms, p95 ${median(p95).toFixed(2)} ms (${note})`,
    peer: `${GOAL_MS} ms`,
  };
}
