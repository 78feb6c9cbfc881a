import { z } from 'zod';
import { chooseLoadGenerator, describeLoad } from '../http/load.ts';
import type { HttpSample } from '../http/measure.ts';
import { type PaidGateway, startPaidGateway } from '../http/paid-gateway.ts';
import { choosePins } from '../http/pins.ts';
import {
  hasProcessCpu,
  NO_PROCESS_CPU,
  readCpuMicros,
  readMainThreadCpuMicros,
} from '../http/process-cpu.ts';
import type { Plan } from '../plan.ts';
import { median, spreadOf } from '../ratios.ts';
import { measureRounds, type Variant } from '../rounds.ts';
import type { Part, RunDeps } from '../run.ts';
import { findEach, type Measured, type RowName } from '../targets.ts';
import { attribute } from './attribution.ts';

type CryptoRow = Extract<RowName, `crypto-${string}`>;
/** Shares in percent, and what a call cost while it was profiled. */
type Share = { percent: number; cryptoMicros: number; cpuMicros: number };

const CONNECTIONS = 64;
const PRELOAD = 'scripts/bench/profile/preload.ts';

const profileSchema = z.object({
  profile: z.object({
    nodes: z.array(
      z.object({
        id: z.int(),
        callFrame: z.object({ functionName: z.string(), url: z.string() }),
        children: z.array(z.int()).optional(),
      }),
    ),
    samples: z.array(z.int()).optional(),
    timeDeltas: z.array(z.number()).optional(),
  }),
});
const jobsSchema = z.object({ jobs: z.int() });

/** What hashes, signatures and MACs take of a call's CPU, by a profile of the gateway's process under load. */
export async function measureCrypto({ postgres, progress }: RunDeps, plan: Plan): Promise<Part> {
  const rows = plan.rows.filter((row): row is CryptoRow => row.startsWith('crypto-'));
  if (!hasProcessCpu) return { findings: rows.map((row) => ({ row, skipped: NO_PROCESS_CPU })) };
  const pins = choosePins();
  const generator = chooseLoadGenerator(pins.load);
  progress('starting the gateway that is profiled');
  const paid = await startPaidGateway({
    ...{ postgres, generator, pin: pins.server, name: 'profiled', withRails: true, preload: [PRELOAD] },
  });
  try {
    const variants = rows.map((row) => toVariant(row, paid, plan));
    const samples = await measureRounds(variants, { rounds: plan.rounds, progress });
    progress('checking the books');
    return {
      findings: findEach(rows, (row) => toFigure(samples.of(row))),
      books: await paid.prove(),
      load: describeLoad(generator, pins),
    };
  } finally {
    await paid.stop();
  }
}

function toVariant(row: CryptoRow, paid: PaidGateway, plan: Plan): Variant<Share> {
  const { gateway } = paid;
  let jobs = 0;
  const load = async (seconds: number): Promise<HttpSample> => {
    const amount = { connections: CONNECTIONS, seconds };
    if (row === 'crypto-share-402') return paid.challenge(amount);
    const headers: Record<string, string> = row === 'crypto-share-receipt' ? { prefer: 'receipt' } : {};
    return paid.pay({ ...amount, keys: [await gateway.mint()], headers });
  };
  return {
    name: row,
    async warm() {
      await gateway.ask({ kind: 'watch-jobs' });
      await load(plan.warmSeconds).finally(async () => {
        jobs = jobsSchema.parse(await gateway.ask({ kind: 'count-jobs' })).jobs;
      });
      // Once more without the watch, which slows everything down.
      await load(plan.warmSeconds);
    },
    async measure() {
      await gateway.ask({ kind: 'start-profile' });
      const before = readThreads(gateway.pid);
      const sample = await load(plan.seconds);
      const after = readThreads(gateway.pid);
      const { profile } = profileSchema.parse(await gateway.ask({ kind: 'stop-profile' }));
      const { busy, crypto } = attribute(profile);
      if (busy === 0) throw new Error('the profile has no sample in which the gateway was busy');
      const main = (after.main - before.main) / sample.answers;
      // A job of another thread is in no profile: then all that other threads did counts as crypto.
      const others = jobs > 0 ? (after.all - before.all) / sample.answers - main : 0;
      const [cryptoMicros, cpuMicros] = [(main * crypto) / busy + others, main + others];
      return { percent: (100 * cryptoMicros) / cpuMicros, cryptoMicros, cpuMicros };
    },
  };
}

function readThreads(pid: number): { main: number; all: number } {
  return { main: readMainThreadCpuMicros(pid), all: readCpuMicros(pid) };
}

function toFigure(shares: readonly Share[]): Omit<Measured, 'row'> {
  const cryptoMicros = median(shares.map((share) => share.cryptoMicros));
  const cpuMicros = median(shares.map((share) => share.cpuMicros));
  return {
    measured: spreadOf(shares.map(({ percent }) => percent)),
    ours: `${cryptoMicros.toFixed(1)} us of ${cpuMicros.toFixed(1)} us on the main thread, while profiled`,
    peer: '',
  };
}
