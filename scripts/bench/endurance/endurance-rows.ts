import { chooseLoadGenerator, describeLoad } from '../http/load.ts';
import { type PaidGateway, startPaidGateway } from '../http/paid-gateway.ts';
import { choosePins } from '../http/pins.ts';
import { hasProcessCpu, NO_PROCESS_CPU } from '../http/process-cpu.ts';
import type { Plan } from '../plan.ts';
import type { Part, RunDeps } from '../run.ts';
import { type Finding, type Measured, type RowName, toFailed } from '../targets.ts';
import { measureBytes } from './bytes.ts';
import { measureMemory } from './memory.ts';

type EnduranceRow = Extract<RowName, `memory-${string}` | `bytes-${string}`>;

/** What both rows ask of their gateway; each has one of its own, with a database that nobody else writes to. */
export type Endurance = {
  paid: PaidGateway;
  /** Makes paid calls until that many are answered in all. */
  payUntil(calls: number, connections: number): Promise<void>;
  progress(step: string): void;
};

const MEASURES: Record<EnduranceRow, (endurance: Endurance, plan: Plan) => Promise<Omit<Measured, 'row'>>> = {
  'memory-1m': measureMemory,
  'bytes-per-call': measureBytes,
};

/** Callers, each with a key: together they may make 32,000,000 calls. */
const KEYS = 32;
const RUN_SECONDS = 5;
/** Fewer calls than these are made in runs of a second. */
const LAST_CALLS = 50_000;
/** A gateway that answers hardly anything is not waited for. */
const PHASE_MAX_MS = 600_000;

/** What paid calls leave behind: in the gateway's memory, and on disk. */
export async function measureEndurance(deps: RunDeps, plan: Plan): Promise<Part> {
  const rows = plan.rows.filter((row): row is EnduranceRow => row in MEASURES);
  if (!hasProcessCpu) return { findings: rows.map((row) => ({ row, skipped: NO_PROCESS_CPU })) };
  const pins = choosePins();
  const generator = chooseLoadGenerator(pins.load);
  const [findings, books]: [Finding[], NonNullable<Part['books']>] = [[], []];
  for (const row of rows) {
    deps.progress(`starting the gateway of ${row}`);
    const name = row.replaceAll('-', '_');
    const paid = await startPaidGateway({ postgres: deps.postgres, generator, pin: pins.server, name });
    try {
      const finding = await MEASURES[row](await toEndurance(paid, deps), plan).then(
        (figure): Finding => ({ row, ...figure }),
        (cause: unknown) => toFailed(row, cause),
      );
      findings.push(finding);
      deps.progress('checking the books');
      books.push(...(await paid.prove()));
    } finally {
      await paid.stop();
    }
  }
  return { findings, books, load: describeLoad(generator, pins) };
}

async function toEndurance(paid: PaidGateway, { progress }: RunDeps): Promise<Endurance> {
  const keys = await Promise.all(Array.from({ length: KEYS }, () => paid.gateway.mint()));
  return {
    ...{ paid, progress },
    async payUntil(calls, connections) {
      const deadline = Date.now() + PHASE_MAX_MS;
      for (let left = calls - paid.acknowledged(); left > 0; left = calls - paid.acknowledged()) {
        if (Date.now() > deadline) throw new Error(`${left} of ${calls} calls are left after ten minutes`);
        // Short runs towards the end, so that it comes close to what is asked for.
        await paid.pay({ keys, connections, seconds: left < LAST_CALLS ? 1 : RUN_SECONDS });
        progress(`${paid.acknowledged().toLocaleString('en')} of ${calls.toLocaleString('en')} paid calls`);
      }
    },
  };
}
