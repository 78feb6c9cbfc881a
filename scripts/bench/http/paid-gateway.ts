import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase, type Sql } from '../../../src/db/index.ts';
import { type Books, proveBooks } from '../books.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import { type GatewayOptions, type GatewayProcess, startGateway } from './gateway-process.ts';
import type { LoadAnswer, LoadGenerator } from './load.ts';
import { type HttpSample, measureLoad } from './measure.ts';

/** A gateway's process with a database of its own, and everything its callers were told. */
export type PaidGateway = {
  gateway: GatewayProcess;
  sql: Sql;
  /** Calls paid by keys, each of which has callers of its own; until the last receipt is signed. */
  pay(load: PaidLoad): Promise<HttpSample>;
  /** Calls that are asked to pay. */
  challenge(load: { connections: number; seconds: number }): Promise<HttpSample>;
  /** How many paid calls were answered so far. */
  acknowledged(): number;
  /** Whether the ledger agrees with what the callers were told; none when nobody paid. */
  prove(): Promise<Books[]>;
  /** Also when it was called before. */
  stop(): Promise<void>;
};

export type PaidLoad = {
  keys: readonly string[];
  connections: number;
  seconds: number;
  headers?: Record<string, string>;
};

export type PaidGatewayOptions = Omit<GatewayOptions, 'databaseUrl' | 'dataDir'> & {
  postgres: ThrowAwayPostgres;
  generator: LoadGenerator;
  /** Of its database, and of its books in the report. */
  name: string;
};

const SEALED_WITHIN_MS = 120_000;
const POLL_MS = 50;

export async function startPaidGateway(options: PaidGatewayOptions): Promise<PaidGateway> {
  const { postgres, generator, name, ...rest } = options;
  const databaseUrl = await postgres.createDatabase(`bench_${name}`);
  const dataDir = await mkdtemp(join(tmpdir(), 'millicent-bench-gateway-'));
  const { sql, close } = openDatabase({ url: databaseUrl, poolMax: 2, applicationName: 'millicent-bench' });
  const cleanUp = async () => {
    await close();
    await rm(dataDir, { recursive: true, force: true });
  };
  const gateway = await startGateway({ ...rest, databaseUrl, dataDir }).catch(async (cause: unknown) => {
    await cleanUp();
    throw cause;
  });
  const called = { acknowledged: 0, cutOffMax: 0 };
  let stopping: Promise<void> | undefined;
  return {
    ...{ gateway, sql },
    async pay({ keys, connections, seconds, headers = {} }) {
      // The load generator hangs up amid its last requests: those are charged, and counted by nobody.
      called.cutOffMax += connections;
      return measureLoad({
        ...{ server: gateway, generator, expects: 'answers' },
        request: { headers, keys, connections, seconds },
        counted(load: LoadAnswer) {
          called.acknowledged += load.answers - load.refused;
        },
        // Signing receipts is part of what a paid call costs, although it happens after the answer.
        settled: () => untilSealed(sql),
      });
    },
    challenge: ({ connections, seconds }) =>
      measureLoad({
        ...{ server: gateway, generator, expects: 'refusals' },
        request: { headers: {}, keys: [], connections, seconds },
      }),
    acknowledged: () => called.acknowledged,
    prove: async () =>
      called.acknowledged === 0 ? [] : [await proveBooks(sql, { name, label: 'example', ...called })],
    stop() {
      stopping ??= gateway.stop().then(cleanUp);
      return stopping;
    },
  };
}

export async function untilSealed(sql: Sql): Promise<void> {
  const deadline = Date.now() + SEALED_WITHIN_MS;
  while (Date.now() < deadline) {
    const open = await sql`SELECT 1 FROM receipt_batch WHERE signed_at IS NULL LIMIT 1`;
    if (open.length === 0) return;
    await sleep(POLL_MS);
  }
  throw new Error(`receipts were not signed within ${SEALED_WITHIN_MS / 1_000} seconds`);
}
