import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase } from '../../../src/db/index.ts';
import { newKeyText } from '../../../src/keys/index.ts';
import { type Books, proveBooks } from '../books.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import { startGateway } from './gateway-process.ts';
import type { LoadGenerator } from './load.ts';
import { type HttpSample, measureLoad } from './measure.ts';
import { type ServerProcess, startServer } from './server-process.ts';
import { type HttpVariant, partsOf } from './variants.ts';

/** Every server that the rows need, running side by side. */
export type HttpStand = {
  /** One run of load against the server of this variant. */
  measure(variant: HttpVariant, seconds: number): Promise<HttpSample>;
  /** Whether the gateway's ledger agrees with what its callers were told; none when nobody called. */
  prove(): Promise<Books[]>;
  stop(): Promise<void>;
};

export type StandOptions = {
  postgres: ThrowAwayPostgres;
  generator: LoadGenerator;
  /** What keeps a server on its core. */
  pin: string[];
  variants: readonly HttpVariant[];
  /** How often each variant will be measured. */
  runs: number;
};

const SEALED_WITHIN_MS = 30_000;
const POLL_MS = 50;

export async function startStand(options: StandOptions): Promise<HttpStand> {
  const { postgres, generator, pin, variants } = options;
  const databaseUrl = await postgres.createDatabase('bench_gateway');
  const dataDir = await mkdtemp(join(tmpdir(), 'millicent-bench-gateway-'));
  const { sql, close } = openDatabase({ url: databaseUrl, poolMax: 2, applicationName: 'millicent-bench' });
  const servers = new Map<string, ServerProcess>();
  const stop = async () => {
    await Promise.all([...servers.values()].map((server) => server.stop()));
    await close();
    await rm(dataDir, { recursive: true, force: true });
  };
  const keys: string[] = [];
  try {
    const gateway = await startGateway({ databaseUrl, dataDir, pin });
    for (const kind of ['paid', 'challenge']) servers.set(kind, gateway);
    if (variants.some((variant) => partsOf(variant).kind === 'invoice')) {
      const ownUrl = await postgres.createDatabase('bench_invoices');
      const ownDir = join(dataDir, 'invoices');
      servers.set(
        'invoice',
        await startGateway({ databaseUrl: ownUrl, dataDir: ownDir, pin, withInvoices: true }),
      );
    }
    for (const kind of ['bare', 'x402', 'mppx']) {
      if (!variants.some((variant) => partsOf(variant).kind === kind)) continue;
      servers.set(kind, await startServer({ script: `scripts/bench/children/${kind}-hono.ts`, pin }));
    }
    // Each paid run has a key of its own, because no key may hold what all of them spend.
    const paidRuns = variants.filter((variant) => partsOf(variant).kind === 'paid').length * options.runs;
    for (let run = 0; run < paidRuns; run++) keys.push(await gateway.mint());
  } catch (cause) {
    await stop();
    throw cause;
  }
  const called = { acknowledged: 0, cutOffMax: 0 };
  return {
    async measure(variant, seconds) {
      const { kind, connections } = partsOf(variant);
      const server = servers.get(kind);
      if (!server) throw new Error(`there is no server for ${variant}`);
      const isRefused = ['challenge', 'invoice', 'x402', 'mppx'].includes(kind);
      // The bare route is sent a key too: reading a request of the same size is part of both.
      const key = kind === 'paid' ? keys.pop() : newKeyText();
      const headers: Record<string, string> = isRefused ? {} : { authorization: `Bearer ${key}` };
      const sample = await measureLoad({
        ...{ server, generator, request: { headers, connections, seconds } },
        expects: isRefused ? 'refusals' : 'answers',
        ...(kind === 'paid' ? { settled: untilSealed } : {}),
      });
      if (kind === 'paid') {
        called.acknowledged += sample.answers;
        // The load generator hangs up amid its last requests: those are charged, and counted by nobody.
        called.cutOffMax += connections;
      }
      return sample;
    },
    prove: async () =>
      called.acknowledged === 0 ? [] : [await proveBooks(sql, { label: 'example', ...called })],
    stop,
  };

  /** Signing receipts is part of what a paid call costs, although it happens after the answer. */
  async function untilSealed(): Promise<void> {
    const deadline = Date.now() + SEALED_WITHIN_MS;
    while (Date.now() < deadline) {
      const open = await sql`SELECT 1 FROM receipt_batch WHERE signed_at IS NULL LIMIT 1`;
      if (open.length === 0) return;
      await sleep(POLL_MS);
    }
    throw new Error(`receipts were not signed within ${SEALED_WITHIN_MS / 1_000} seconds`);
  }
}
