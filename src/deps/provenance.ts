import type { Config } from '../config.ts';
import { ConfigError } from '../config.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Sql } from '../db/index.ts';
import type { Job } from '../jobs/index.ts';
import { chainSource } from '../provenance/anchoring/anchoring.ts';
import {
  type Anchors,
  type Bundles,
  createBundles,
  createLog,
  createLogMonitor,
  createNoteSigner,
  type LogHealth,
  type LogName,
  type Logs,
  readLoggedOrigin,
} from '../provenance/index.ts';
import { witnessSource } from '../provenance/witness/witnessing.ts';
import type { Secrets } from '../secrets.ts';
import { wireAnchors } from './anchors.ts';
import { wireWitnesses } from './witnesses.ts';

/** What can be proven of an installation, and what has to happen for it while the process runs. */
export type WiredProvenance = {
  logs: Logs;
  anchors: Anchors;
  bundles: Bundles;
  jobs: readonly Job[];
  /** For `/ready`: a log that is not what was signed is shouted here, and the rest goes on. */
  health(): Record<string, string>;
};

type WireInput = {
  config: Config;
  secrets: Secrets;
  sql: Sql;
  clock: Clock;
  log: Log;
  publicUrl: string;
};

const SIGN_EVERY_MS = 1_000;
const MONITOR_EVERY_MS = 10_000;

/** Wires both logs, the chains they are anchored on and their witnesses. */
export async function wireProvenance(input: WireInput): Promise<WiredProvenance> {
  const { config, secrets, sql, clock, log } = input;
  const origin = await chooseOrigin(input);
  const keys = { currentPem: secrets.logKeyPem, previousPem: secrets.logKeyPreviousPem };
  const parts = { sql, clock, log, keys };
  const watchersOf = (name: LogName) => listWatchers(config.provenance, name);
  const logs: Logs = {
    versions: createLog({ ...parts, name: 'versions', origin, watchers: watchersOf('versions') }),
    receipts: createLog({
      ...{ ...parts, name: 'receipts', origin: `${origin}/receipts`, watchers: watchersOf('receipts') },
    }),
  };
  const anchoring = await wireAnchors({ config: config.provenance, sql, clock, log, logs });
  const witnessing = wireWitnesses({ config: config.provenance, logs, clock, log });
  const both = Object.values(logs);
  return {
    logs,
    anchors: anchoring.anchors,
    bundles: createBundles({
      ...{ versionLog: logs.versions, anchors: anchoring.anchors, clock, log },
      signer: createNoteSigner({ name: origin, privateKeyPem: secrets.logKeyPem }),
      witnesses: config.provenance.witnesses.map(({ vkey }) => vkey),
    }),
    jobs: [
      ...both.map((one) => ({ name: `sign-${one.name}`, everyMs: SIGN_EVERY_MS, run: () => one.sign() })),
      ...both.map((one) => {
        const monitor = createLogMonitor({ sql, log: one });
        return { name: `monitor-${one.name}`, everyMs: MONITOR_EVERY_MS, run: () => monitor.run() };
      }),
      ...anchoring.jobs,
      ...witnessing.jobs,
    ],
    health: () => ({
      ...Object.fromEntries(both.map((one) => [`log_${one.name}`, describe(one.health())])),
      ...anchoring.health(),
      ...witnessing.health(),
    }),
  };
}

/** Who has to look at a log before anything new of it is signed. */
function listWatchers({ anchorChains, witnesses }: Config['provenance'], name: LogName): string[] {
  const chains = anchorChains.filter(({ contracts }) => contracts[name] !== undefined);
  return [...chains.map(({ chainId }) => chainSource(chainId)), ...witnesses.map(witnessSource)];
}

function describe(health: LogHealth): string {
  switch (health.kind) {
    case 'sound':
      return 'ok';
    case 'waiting':
      return health.detail;
    case 'diverged':
      return `DIVERGED: ${health.detail}`;
    default:
      return health satisfies never;
  }
}

/** A log keeps the name under which it was first signed: monitors, anchors and receipts know it by that. */
async function chooseOrigin({ config, sql, publicUrl }: WireInput): Promise<string> {
  const { logOrigin } = config.provenance;
  const signedAs = await readLoggedOrigin(sql, 'versions');
  if (signedAs !== undefined && logOrigin !== undefined && signedAs !== logOrigin) {
    throw new ConfigError(
      `LOG_ORIGIN must be ${signedAs}: the version log of this database was signed under that name`,
    );
  }
  return logOrigin ?? signedAs ?? new URL(publicUrl).host;
}
