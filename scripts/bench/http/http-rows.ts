import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase, type Sql } from '../../../src/db/index.ts';
import { type Books, proveBooks } from '../books.ts';
import type { Plan } from '../plan.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Progress } from '../rounds.ts';
import type { Finding } from '../targets.ts';
import { type GatewayProcess, startGateway } from './gateway-process.ts';
import { chooseLoadGenerator, type LoadGenerator } from './load.ts';
import { type HttpSample, measureLoad } from './measure.ts';
import { choosePins, type Pins } from './pins.ts';
import { hasProcessCpu } from './process-cpu.ts';
import { type ServerProcess, startServer } from './server-process.ts';
import { COMPARISONS, type HttpRow, type HttpVariant, variantsOf } from './variants.ts';

const SEALED_WITHIN_MS = 30_000;
const POLL_MS = 50;

export type HttpFindings = { findings: Finding[]; books: Books[]; load: string | undefined };

/** The gateway's process against the same answers without a gateway, all started before the first round. */
export async function measureHttp(
  deps: { postgres: ThrowAwayPostgres; progress: Progress },
  plan: Plan,
): Promise<HttpFindings> {
  const asked = plan.rows.filter((row): row is HttpRow => row in COMPARISONS);
  const skipped = asked.flatMap((row) => skip(row) ?? []);
  const rows = asked.filter((row) => !skipped.some((finding) => finding.row === row));
  if (rows.length === 0) return { findings: skipped, books: [], load: undefined };
  const pins = choosePins();
  const generator = chooseLoadGenerator(pins.load);
  const stand = await startAll({ ...deps, pins }, variantsOf(rows));
  try {
    const samples = await measureVariants({ stand, generator, ...deps }, rows, plan);
    deps.progress('checking the books');
    const books = stand.called.answers > 0 ? [await proveCalls(stand)] : [];
    const findings = [...rows.map((row) => toFinding(row, samples)), ...skipped];
    return { findings, books, load: `${generator.name}, ${pins.areOn ? 'pinned' : 'not pinned'}` };
  } finally {
    await stand.stop();
  }
}

function skip(row: HttpRow): Finding | undefined {
  if (!hasProcessCpu) return { row, skipped: 'the CPU of a process is read from /proc, which is not here' };
  if (row !== 'challenge-x402') return undefined;
  try {
    import.meta.resolve('@x402/hono');
    return undefined;
  } catch {
    return { row, skipped: '@x402/hono is not installed' };
  }
}

/** The servers, the gateway's database, and what callers were told so far. */
type Stand = {
  servers: Record<'bare' | 'x402', ServerProcess | undefined>;
  gateway: GatewayProcess;
  sql: Sql;
  called: { answers: number; cutOffMax: number };
  stop(): Promise<void>;
};

async function startAll(
  deps: { postgres: ThrowAwayPostgres; progress: Progress; pins: Pins },
  variants: readonly HttpVariant[],
): Promise<Stand> {
  deps.progress('starting the servers');
  const databaseUrl = await deps.postgres.createDatabase('bench_gateway');
  const dataDir = await mkdtemp(join(tmpdir(), 'millicent-bench-gateway-'));
  const database = openDatabase({ url: databaseUrl, poolMax: 2, applicationName: 'millicent-bench' });
  const started: ServerProcess[] = [];
  const stop = async () => {
    await Promise.all(started.map((server) => server.stop()));
    await database.close();
    await rm(dataDir, { recursive: true, force: true });
  };
  const start = async <Server extends ServerProcess>(server: Promise<Server>): Promise<Server> => {
    started.push(await server);
    return server;
  };
  const peer = (kind: 'bare' | 'x402') =>
    variants.some((variant) => variant.startsWith(kind))
      ? start(startServer({ script: `scripts/bench/children/${kind}-hono.ts`, pin: deps.pins.server }))
      : undefined;
  try {
    const gateway = await start(startGateway({ databaseUrl, dataDir, pin: deps.pins.server }));
    const servers = { bare: await peer('bare'), x402: await peer('x402') };
    return { servers, gateway, sql: database.sql, called: { answers: 0, cutOffMax: 0 }, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

type Measuring = { stand: Stand; generator: LoadGenerator; progress: Progress };

async function measureVariants(
  deps: Measuring,
  rows: readonly HttpRow[],
  plan: Plan,
): Promise<Map<string, HttpSample[]>> {
  const names = variantsOf(rows);
  for (const name of names) {
    deps.progress(`warming ${name}`);
    await measureVariant(deps, name, plan.warmSeconds);
  }
  const variants = names.map((name) => ({ name, measure: () => measureVariant(deps, name, plan.seconds) }));
  return measureRounds(variants, { rounds: plan.rounds, progress: deps.progress });
}

async function measureVariant(deps: Measuring, name: HttpVariant, seconds: number): Promise<HttpSample> {
  const { stand, generator } = deps;
  const [kind = '', size] = name.split('-');
  const connections = Number(size);
  // Each paid run has a key of its own, because no key may hold what all of them spend.
  const key = kind === 'challenge' || kind === 'x402' ? undefined : await stand.gateway.mint();
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const server = kind === 'bare' || kind === 'x402' ? stand.servers[kind] : stand.gateway;
  if (!server) throw new Error(`there is no server for ${name}`);
  const sample = await measureLoad({
    ...{ server, generator, request: { headers, connections, seconds } },
    expects: key === undefined ? 'refusals' : 'answers',
    ...(kind === 'paid' ? { settled: () => untilSealed(stand.sql) } : {}),
  });
  if (kind === 'paid') {
    stand.called.answers += sample.answers;
    stand.called.cutOffMax += connections;
  }
  return sample;
}

/** Signing receipts is part of what a paid call costs, although it happens after the answer. */
async function untilSealed(sql: Sql): Promise<void> {
  const deadline = Date.now() + SEALED_WITHIN_MS;
  while (Date.now() < deadline) {
    const open = await sql`SELECT 1 FROM receipt_batch WHERE signed_at IS NULL LIMIT 1`;
    if (open.length === 0) return;
    await sleep(POLL_MS);
  }
  throw new Error(`receipts were not signed within ${SEALED_WITHIN_MS / 1_000} seconds`);
}

/** The load generator hangs up in the middle of its last requests: those were charged and not counted. */
function proveCalls({ sql, called }: Stand): Promise<Books> {
  return proveBooks(sql, { label: 'example', acknowledged: called.answers, cutOffMax: called.cutOffMax });
}

function toFinding(row: HttpRow, samples: ReadonlyMap<string, HttpSample[]>): Finding {
  const { over, by, ours } = COMPARISONS[row];
  const [upper = [], lower = []] = over.map((name) => samples.get(name)?.map((sample) => sample[by]) ?? []);
  const texts = [upper, lower].map((values) => spell(median(values), by));
  return {
    row,
    ratio: compareRounds(upper, lower),
    ours: texts[ours] ?? '',
    peer: texts[1 - ours] ?? '',
  };
}

function spell(value: number, by: 'cpuMicros' | 'perSecond'): string {
  return by === 'cpuMicros' ? `${value.toFixed(1)} us` : `${Math.round(value).toLocaleString('en')}/s`;
}
