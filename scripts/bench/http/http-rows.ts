import type { Books } from '../books.ts';
import type { Plan } from '../plan.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Progress } from '../rounds.ts';
import type { Finding } from '../targets.ts';
import { chooseLoadGenerator } from './load.ts';
import type { HttpSample } from './measure.ts';
import { choosePins } from './pins.ts';
import { hasProcessCpu } from './process-cpu.ts';
import { startStand } from './stand.ts';
import { COMPARISONS, type HttpRow, variantsOf } from './variants.ts';

export type HttpFindings = { findings: Finding[]; books: Books[]; load: string | undefined };

/** The gateway's process against the same answers without a gateway, all started before the first round. */
export async function measureHttp(
  deps: { postgres: ThrowAwayPostgres; progress: Progress },
  plan: Plan,
): Promise<HttpFindings> {
  const { postgres, progress } = deps;
  const asked = plan.rows.filter((row): row is HttpRow => row in COMPARISONS);
  const skipped = asked.flatMap((row) => skip(row) ?? []);
  const rows = asked.filter((row) => !skipped.some((finding) => finding.row === row));
  if (rows.length === 0) return { findings: skipped, books: [], load: undefined };
  const pins = choosePins();
  const generator = chooseLoadGenerator(pins.load);
  const variants = variantsOf(rows);
  progress('starting the servers');
  const stand = await startStand({ postgres, generator, pin: pins.server, variants, runs: plan.rounds + 1 });
  try {
    for (const variant of variants) {
      progress(`warming ${variant}`);
      await stand.measure(variant, plan.warmSeconds);
    }
    const samples = await measureRounds(
      variants.map((name) => ({ name, measure: () => stand.measure(name, plan.seconds) })),
      { rounds: plan.rounds, progress },
    );
    progress('checking the books');
    return {
      findings: [...rows.map((row) => toFinding(row, samples)), ...skipped],
      books: await stand.prove(),
      load: `${generator.name}, ${pins.areOn ? 'servers and load pinned to a core each' : 'nothing pinned'}`,
    };
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
