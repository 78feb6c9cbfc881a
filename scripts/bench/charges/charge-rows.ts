import { newUuid } from '../../../src/core/ids.ts';
import { openDatabase, type Sql } from '../../../src/db/index.ts';
import { keyGuard } from '../../../src/keys/index.ts';
import { CHARGE_SETTINGS, createCharger } from '../../../src/ledger/index.ts';
import { createReceiptRider, newLane } from '../../../src/provenance/index.ts';
import { type Books, proveBooks } from '../books.ts';
import type { Plan } from '../plan.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Progress, type Samples } from '../rounds.ts';
import { type Finding, findEach, type Measured, type RowName } from '../targets.ts';
import { openPayers, type Payer } from './accounts.ts';
import { newCall, type Tool } from './call.ts';
import { drive } from './drive.ts';
import { createNaiveCharge } from './naive.ts';

const CONCURRENCY = 512;
/** What a gateway has: by default for everything else, and for its charges. */
const GATEWAY_POOL = 10;
const CHARGE_POOL = 4;
/** Where the naive transaction is quickest on the machines we know: fewer idle, more stand in each other's way. */
const NAIVE_POOL = 16;

type ChargeRow = Extract<RowName, `charges-${string}`>;
type Charge = (payer: Payer) => Promise<boolean>;
type Contender = { label: string; acknowledged: number; charge: Charge };

/** The charger as the gateway wires it, against the naive transaction that leaves the same rows. */
export async function measureCharges(
  deps: { postgres: ThrowAwayPostgres; progress: Progress },
  plan: Plan,
): Promise<{ findings: Finding[]; books: Books[] }> {
  const rows = plan.rows.filter((row): row is ChargeRow => row.startsWith('charges-'));
  if (rows.length === 0) return { findings: [], books: [] };
  const url = await deps.postgres.createDatabase('bench_charges');
  const database = openDatabase({ url, poolMax: GATEWAY_POOL, applicationName: 'millicent-bench' });
  const charging = openDatabase({
    ...{ url, poolMax: CHARGE_POOL, applicationName: 'millicent-charge', settings: CHARGE_SETTINGS },
  });
  const naive = openDatabase({ url, poolMax: NAIVE_POOL, applicationName: 'millicent-bench-naive' });
  try {
    const tool: Tool = { toolId: newUuid(), versionId: newUuid(), payeeId: newUuid() };
    deps.progress('opening accounts');
    const payers = await openPayers(
      database.sql,
      rows.includes('charges-spread') ? plan.payers : 1,
      tool.payeeId,
    );
    const contenders = {
      ours: withCharger(charging.sql, tool),
      peer: withNaive(naive.sql, tool),
    };
    const rates = await measureRates(rows, contenders, payers, { plan, progress: deps.progress });
    const findings = findEach(rows, (row) => toFigure(row, rates));
    deps.progress('checking the books');
    const books: Books[] = [];
    for (const { label, acknowledged } of Object.values(contenders)) {
      books.push(await proveBooks(database.sql, { label, acknowledged, cutOffMax: 0 }));
    }
    return { findings, books };
  } finally {
    await Promise.all([database.close(), charging.close(), naive.close()]);
  }
}

function withCharger(sql: Sql, tool: Tool): Contender {
  const label = 'exactly-once';
  const rider = createReceiptRider({ lane: newLane() });
  const charger = createCharger({ sql, parts: { guard: keyGuard, rider } });
  return {
    label,
    acknowledged: 0,
    async charge(payer) {
      const { request, receipt } = newCall(tool, payer, label);
      return (await charger.charge(request, receipt)).kind === 'held';
    },
  };
}

function withNaive(sql: Sql, tool: Tool): Contender {
  const label = 'naive';
  const charge = createNaiveCharge({ sql, lane: newLane() });
  return {
    label,
    acknowledged: 0,
    charge(payer) {
      const { request, receipt } = newCall(tool, payer, label);
      return charge(request, receipt);
    },
  };
}

async function measureRates(
  rows: readonly ChargeRow[],
  contenders: Record<'ours' | 'peer', Contender>,
  payers: readonly Payer[],
  { plan, progress }: { plan: Plan; progress: Progress },
): Promise<Samples<number>> {
  const variants = rows.flatMap((row) =>
    (['ours', 'peer'] as const).map((side) => {
      const contender = contenders[side];
      const among = row === 'charges-hot' ? payers.slice(0, 1) : payers;
      const run = async (seconds: number) => {
        const charge = async () => {
          const isCharged = await contender.charge(pick(among));
          // Counted one by one, so that the books can be proven also when a later charge fails.
          if (isCharged) contender.acknowledged++;
          return isCharged;
        };
        return (await drive(charge, { concurrency: CONCURRENCY, seconds })).perSecond;
      };
      return {
        name: `${row} ${side}`,
        measure: () => run(plan.seconds),
        warm: () => run(plan.warmSeconds),
      };
    }),
  );
  return measureRounds(variants, { rounds: plan.rounds, progress });
}

function pick(payers: readonly Payer[]): Payer {
  const payer = payers[Math.floor(Math.random() * payers.length)];
  if (!payer) throw new RangeError('there is no payer');
  return payer;
}

function toFigure(row: ChargeRow, rates: Samples<number>): Omit<Measured, 'row'> {
  const [ours, peer] = [rates.of(`${row} ours`), rates.of(`${row} peer`)];
  const spell = (values: readonly number[]) => `${Math.round(median(values)).toLocaleString('en')}/s`;
  return { measured: compareRounds(ours, peer), ours: spell(ours), peer: spell(peer) };
}
