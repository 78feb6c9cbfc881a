import { environmentSchema } from '../../../src/config.ts';
import { chooseLoadGenerator, describeLoad, type LoadGenerator } from '../http/load.ts';
import type { HttpSample } from '../http/measure.ts';
import { type PaidGateway, startPaidGateway } from '../http/paid-gateway.ts';
import { hasProcessCpu, NO_PROCESS_CPU } from '../http/process-cpu.ts';
import type { Plan } from '../plan.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Variant } from '../rounds.ts';
import type { Part, RunDeps } from '../run.ts';
import { findEach, type RowName } from '../targets.ts';

type WorkerRow = Extract<RowName, `workers-${string}`>;

const VARIABLE = 'GATEWAY_WORKERS';
const COUNTS: Record<WorkerRow, number> = { 'workers-1': 1, 'workers-2': 2, 'workers-4': 4 };
/** Callers, each with a key and two connections. */
const KEYS = 32;
const CONNECTIONS = 64;

/** Several processes of one gateway on one port, told beside one. Nothing is pinned: they are to use what there is. */
export async function measureWorkers(deps: RunDeps, plan: Plan): Promise<Part> {
  const rows = plan.rows.filter((row): row is WorkerRow => row.startsWith('workers-'));
  const reason = whySkip();
  if (reason !== undefined) return { findings: rows.map((row) => ({ row, skipped: reason })) };
  const generator = chooseLoadGenerator([]);
  const counts = [...new Set([1, ...rows.map((row) => COUNTS[row])])];
  const gateways = new Map<number, PaidGateway>();
  try {
    deps.progress('starting gateways with several processes');
    const variants: Variant<HttpSample>[] = [];
    for (const count of counts) variants.push(await toVariant(count, { deps, plan, generator, gateways }));
    const samples = await measureRounds(variants, { rounds: plan.rounds, progress: deps.progress });
    deps.progress('checking the books');
    return {
      findings: findEach(rows, (row) => {
        const [ours, one] = [samples.of(nameOf(COUNTS[row])), samples.of(nameOf(1))];
        const measured = compareRounds(
          ours.map(({ perSecond }) => perSecond),
          one.map(({ perSecond }) => perSecond),
        );
        return { measured, ours: spell(ours), peer: spell(one) };
      }),
      books: (await Promise.all([...gateways.values()].map((gateway) => gateway.prove()))).flat(),
      load: describeLoad(generator, { server: [], load: [], areOn: false }),
    };
  } finally {
    await Promise.all([...gateways.values()].map((gateway) => gateway.stop()));
  }
}

function whySkip(): string | undefined {
  if (!hasProcessCpu) return NO_PROCESS_CPU;
  return VARIABLE in environmentSchema.shape ? undefined : `the gateway has no ${VARIABLE} yet`;
}

const nameOf = (count: number) => `workers-${count}`;

type VariantInput = {
  deps: RunDeps;
  plan: Plan;
  generator: LoadGenerator;
  gateways: Map<number, PaidGateway>;
};

/** A count whose gateway does not start fails in its own row only. */
async function toVariant(
  count: number,
  { deps, plan, generator, gateways }: VariantInput,
): Promise<Variant<HttpSample>> {
  const start = async () => {
    const gateway = await startPaidGateway({
      ...{ postgres: deps.postgres, generator, pin: [], name: `workers_${count}` },
      env: { [VARIABLE]: String(count) },
    });
    gateways.set(count, gateway);
    return Promise.all(Array.from({ length: KEYS }, () => gateway.gateway.mint()));
  };
  const started = await start().catch((failure: unknown) => ({ failure }));
  const run = async (seconds: number) => {
    if ('failure' in started) throw started.failure;
    const gateway = gateways.get(count);
    if (!gateway) throw new Error(`there is no gateway with ${count} processes`);
    return gateway.pay({ keys: started, connections: CONNECTIONS, seconds });
  };
  return { name: nameOf(count), warm: () => run(plan.warmSeconds), measure: () => run(plan.seconds) };
}

function spell(samples: readonly HttpSample[]): string {
  const rate = Math.round(median(samples.map(({ perSecond }) => perSecond))).toLocaleString('en');
  return `${rate}/s, ${median(samples.map(({ cpuMicros }) => cpuMicros)).toFixed(1)} us`;
}
