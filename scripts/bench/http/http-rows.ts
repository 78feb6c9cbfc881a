import { type DurableObjectPeer, installDurableObject } from '../durable-object/install.ts';
import type { Plan } from '../plan.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Samples } from '../rounds.ts';
import type { Part, RunDeps } from '../run.ts';
import { findEach, type Measured, type Skipped } from '../targets.ts';
import { chooseLoadGenerator, describeLoad } from './load.ts';
import type { HttpSample } from './measure.ts';
import { choosePins } from './pins.ts';
import { hasProcessCpu, NO_PROCESS_CPU } from './process-cpu.ts';
import { startStand } from './stand.ts';
import { COMPARISONS, type HttpRow, partsOf, variantsOf } from './variants.ts';

/** The gateway's process against the same answers without a gateway, all started before the first round. */
export async function measureHttp(deps: RunDeps, plan: Plan): Promise<Part> {
  const { postgres, progress } = deps;
  const asked = plan.rows.filter((row): row is HttpRow => row in COMPARISONS);
  if (asked.includes('paid-do')) progress('installing miniflare where it is missing');
  const peer = asked.includes('paid-do') ? await installDurableObject() : undefined;
  const reasons = new Map(asked.map((row) => [row, whySkip(row, peer)]));
  const rows = asked.filter((row) => reasons.get(row) === undefined);
  const skipped = asked.flatMap((row) => ({ row, skipped: reasons.get(row) ?? '' })).filter((f) => f.skipped);
  if (rows.length === 0) return { findings: skipped };
  const pins = choosePins();
  const generator = chooseLoadGenerator(pins.load);
  const variants = variantsOf(rows);
  progress('starting the servers');
  const stand = await startStand({
    ...{ postgres, generator, pin: pins.server },
    kinds: [...new Set(variants.map((variant) => partsOf(variant).kind))],
    durableObjectNode: peer && 'node' in peer ? peer.node : undefined,
  });
  try {
    const samples = await measureRounds(
      variants.map((name) => ({
        name,
        // In runs as long as the others: a peer that is overwhelmed closes connections it keeps waiting for longer.
        async warm() {
          for (let spent = 0; spent < plan.warmSeconds; spent += plan.seconds) {
            await stand.measure(name, plan.seconds);
          }
        },
        measure: async () => stand.measure(name, plan.seconds),
      })),
      { rounds: plan.rounds, progress },
    );
    progress('checking the books');
    return {
      findings: [...findEach(rows, (row) => toFigure(row, samples)), ...skipped],
      books: await stand.prove(),
      load: describeLoad(generator, pins),
    };
  } finally {
    await stand.stop();
  }
}

function whySkip(row: HttpRow, peer: DurableObjectPeer | undefined): string | undefined {
  if (!hasProcessCpu) return NO_PROCESS_CPU;
  if (row === 'paid-do') return peer && 'missing' in peer ? peer.missing : undefined;
  if (row !== 'challenge-x402') return undefined;
  try {
    import.meta.resolve('@x402/hono');
    return undefined;
  } catch {
    return '@x402/hono is not installed';
  }
}

function toFigure(row: HttpRow, samples: Samples<HttpSample>): Omit<Measured, 'row'> | Omit<Skipped, 'row'> {
  const { over, by, ours } = COMPARISONS[row];
  const [upper, lower] = [samples.of(over[0]), samples.of(over[1])];
  const texts = [upper, lower].map((side) => spellSide(side, by));
  return {
    measured: compareRounds(
      upper.map((sample) => sample[by]),
      lower.map((sample) => sample[by]),
    ),
    ours: texts[ours] ?? '',
    peer: texts[1 - ours] ?? '',
  };
}

/** Where rates are compared the CPU of a call is told beside them, because it hardly depends on what else runs. */
function spellSide(side: readonly HttpSample[], by: 'cpuMicros' | 'perSecond'): string {
  const micros = `${median(side.map(({ cpuMicros }) => cpuMicros)).toFixed(1)} us`;
  if (by === 'cpuMicros') return micros;
  return `${Math.round(median(side.map(({ perSecond }) => perSecond))).toLocaleString('en')}/s, ${micros}`;
}
