import { z } from 'zod';
import type { Anvil } from './chain.ts';
import type { TestDatabase } from './database.ts';
import { connectGateway, type GatewayClient, gatewayEnvironment } from './gateway.ts';
import { startProcess, waitUntil } from './process.ts';

/** Where a request can be made to halt, in the order in which it gets there. */
export type HaltPoint =
  /** Its rail has not been asked to set the money aside. */
  | 'before-hold'
  /** The rail holds the money, and nothing has run. */
  | 'after-hold'
  | 'before-run'
  | 'after-run'
  /** Its settlement is stored, and nothing has left the process. */
  | 'before-settle'
  /** The transaction is signed and stored. */
  | 'before-broadcast'
  /** The chain has the transaction, and we have not read its answer. */
  | 'after-broadcast'
  /** The chain has mined it, and nothing is booked. */
  | 'after-settle'
  /** Everything is booked, and the client has not been answered. */
  | 'before-answer';

/** A gateway in a process of its own, to be killed (`children/halting-gateway.ts`). */
export type HaltingGateway = GatewayClient & {
  pid: number;
  /** The labels of the requests that halted, each where it was told to. */
  halted: string[];
  /** Every run of a tool that ended in it. */
  runs: { label: string; result: unknown }[];
  /** SIGKILL; resolves once the process is gone. */
  kill(): Promise<void>;
};

export type HaltingGatewayOptions = {
  database: Pick<TestDatabase, 'url'>;
  anvil?: Anvil;
  env?: Record<string, string>;
  haltJobsAt?: HaltPoint;
  /** Shorter waits than a gateway has, so that outcomes stay unknown. */
  waits?: { settleTimeoutMs: number; outcomeWaitMs: number };
};

const lineSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ready'), url: z.string() }),
  z.object({ kind: z.literal('halted'), point: z.string(), label: z.string() }),
  z.object({ kind: z.literal('ran'), label: z.string(), result: z.unknown() }),
]);

export async function startHaltingGateway(options: HaltingGatewayOptions): Promise<HaltingGateway> {
  const { MILLICENT_DATA_DIR: _, ...env } = gatewayEnvironment(options, '');
  const { haltJobsAt, waits } = options;
  const input = { databaseUrl: options.database.url, env, haltJobsAt, waits };
  const child = startProcess({
    program: 'halting-gateway.ts',
    env: { ...process.env, HALTING_GATEWAY: JSON.stringify(input) },
  });
  const halted: HaltingGateway['halted'] = [];
  const runs: HaltingGateway['runs'] = [];
  let url: string | undefined;
  let end: unknown;
  const read = async () => {
    for (;;) {
      const line = lineSchema.parse(await child.nextLine());
      if (line.kind === 'ready') url = line.url;
      else if (line.kind === 'halted') halted.push(line.label);
      else runs.push(line);
    }
  };
  read().catch((cause) => {
    end = cause;
  });
  const client = connectGateway(
    await waitUntil(() => {
      if (end !== undefined) throw end;
      return url;
    }),
  );
  return { ...client, pid: child.pid, halted, runs, kill: child.kill };
}

/** The headers that make a halting gateway halt a request. */
export function haltAt(point: HaltPoint, label: string): Record<string, string> {
  return { 'x-halt-at': point, 'x-label': label };
}
