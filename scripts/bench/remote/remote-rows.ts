import { join } from 'node:path';
import { z } from 'zod';
import { choosePins } from '../http/pins.ts';
import { readCpuMicros } from '../http/process-cpu.ts';
import { runToEnd } from '../http/run-to-end.ts';
import { type ServerProcess, startServer } from '../http/server-process.ts';
import type { Plan } from '../plan.ts';
import { compareRounds, median } from '../ratios.ts';
import { measureRounds, type Progress } from '../rounds.ts';
import { type Finding, findEach, type RowName } from '../targets.ts';

/** What the rows of proxied calls compare; each is a process of its own in front of the same endpoint. */
const VARIANTS = {
  'byte-hop': { script: 'byte-hop.ts', env: {} },
  envelope: { script: 'envelope.ts', env: { WITH_TOKEN: 'no' } },
  'envelope-token': { script: 'envelope.ts', env: { WITH_TOKEN: 'yes' } },
  'sdk-shared': { script: 'sdk-objects.ts', env: { CLIENTS: 'shared' } },
  'sdk-each': { script: 'sdk-objects.ts', env: { CLIENTS: 'each' } },
} as const;
type Variant = keyof typeof VARIANTS;

type RemoteRow = Extract<RowName, `remote-${string}`>;

/** The first's CPU over the second's, and which of the two is the gateway's. */
const ROWS: Record<RemoteRow, { over: [Variant, Variant]; ours: 0 | 1 }> = {
  'remote-hop': { over: ['envelope', 'byte-hop'], ours: 0 },
  'remote-hop-token': { over: ['envelope-token', 'byte-hop'], ours: 0 },
  'remote-sdk': { over: ['sdk-shared', 'envelope'], ours: 1 },
  'remote-sdk-token': { over: ['sdk-shared', 'envelope-token'], ours: 1 },
  'remote-sdk-each': { over: ['sdk-each', 'envelope'], ours: 1 },
};

const CONNECTIONS = 32;
/** A proxy has more to compile than a route. */
const WARMING = 2;
const CHILDREN = 'scripts/bench/children/remote';
const LOAD = join(import.meta.dirname, '../children/remote/load-post.ts');
const loadSchema = z.object({ answers: z.int(), perSecond: z.number(), refused: z.int(), broken: z.int() });

/** Calls of a publisher's own server through each proxy, all started before the first round. */
export async function measureRemote({ progress }: { progress: Progress }, plan: Plan): Promise<Finding[]> {
  const rows = plan.rows.filter((row): row is RemoteRow => row.startsWith('remote-'));
  if (rows.length === 0) return [];
  const needed = new Set(rows.flatMap((row) => ROWS[row].over));
  const pins = choosePins();
  const servers = new Map<string, ServerProcess>();
  try {
    const endpoint = await startServer({
      script: `${CHILDREN}/endpoint.ts`,
      pin: pins.load,
      env: { ERA: 'modern' },
    });
    servers.set('endpoint', endpoint);
    for (const name of needed) {
      const { script, env } = VARIANTS[name];
      const options = {
        script: `${CHILDREN}/${script}`,
        pin: pins.server,
        env: { ...env, TARGET: endpoint.url },
      };
      servers.set(name, await startServer(options));
    }
    const run = (name: string, seconds: number) => measure(servers.get(name), pins.load, seconds);
    const variants = [...needed].map((name) => ({
      name,
      warm: () => run(name, plan.warmSeconds * WARMING),
      measure: () => run(name, plan.seconds),
    }));
    const samples = await measureRounds(variants, { rounds: plan.rounds, progress });
    return findEach(rows, (row) => {
      const { over, ours } = ROWS[row];
      const [upper, lower] = [samples.of(over[0]), samples.of(over[1])];
      const texts = [upper, lower].map((values) => `${median(values).toFixed(1)} us`);
      return {
        measured: compareRounds(upper, lower),
        ours: texts[ours] ?? '',
        peer: texts[1 - ours] ?? '',
      };
    });
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()));
  }
}

/** CPU of one call in microseconds. */
async function measure(server: ServerProcess | undefined, pin: string[], seconds: number): Promise<number> {
  if (server === undefined) throw new Error('that proxy is not running');
  const request = JSON.stringify({ url: server.url, headers: {}, connections: CONNECTIONS, seconds });
  const before = readCpuMicros(server.pid);
  const output = await runToEnd([...pin, process.execPath, '--import', 'tsx', LOAD, request], seconds);
  const spent = readCpuMicros(server.pid) - before;
  const load = loadSchema.parse(JSON.parse(output));
  if (load.answers === 0 || load.refused > 0 || load.broken > 0) {
    throw new Error(
      `${load.answers} answers, ${load.refused} of them not as they should be, ${load.broken} broken`,
    );
  }
  return spent / load.answers;
}
