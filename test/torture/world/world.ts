import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newReceiptKeyPem } from '../../../src/provenance/index.ts';
import { findFreePort } from '../../harness/free-port.ts';
import { gatewayEnvironment } from '../../harness/gateway.ts';
import { ALL_RAILS, type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { findMutant } from '../mutants.ts';
import type { StormOptions } from '../options.ts';
import { type DatabaseDoor, openDatabaseDoor } from './database-door.ts';
import { type Fleet, startFleet } from './fleet.ts';
import { type StormPostgres, startStormPostgres } from './postgres.ts';

/** Everything a storm goes over: one Postgres, the rails behind doors, and gateways in processes of their own. */
export type World = {
  options: StormOptions;
  postgres: StormPostgres;
  /** Between the gateways and it. */
  door: DatabaseDoor;
  lab: RailLab;
  fleet: Fleet;
  /** Where the gateways' logs are, until it is closed. */
  folder: string;
  close(): Promise<void>;
};

/** Nobody here is refused for coming too often: that has tests of its own. */
const NO_RATE_LIMITS = {
  ...{ MINTS_PER_HOUR: '1000000', SIGNUPS_PER_HOUR: '1000000' },
  ...{ RATE_KEY_PER_SECOND: '0', RATE_PAYER_PER_SECOND: '0', RATE_ADDRESS_PER_SECOND: '0' },
  ...{ RATE_WRONG_KEYS_PER_SECOND: '0', EVENT_LOOP_DELAY_MAX_MS: '0' },
};

/** One installation, wherever its gateways listen. */
export const PUBLIC_URL = 'http://storm.example';

export async function startWorld(
  options: StormOptions,
  given?: Pick<StormPostgres, 'url' | 'sql'>,
): Promise<World> {
  const mutant = options.mutant === undefined ? undefined : findMutant(options.mutant);
  const folder = mkdtempSync(join(tmpdir(), 'millicent-storm-'));
  const closing: (() => Promise<void>)[] = [
    async () => {
      if (!process.env.KEEP) rmSync(folder, { recursive: true, force: true });
    },
  ];
  const close = async () => {
    for (const end of closing.splice(0).reverse()) await end();
  };
  try {
    const postgres = given ? share(given) : await startStormPostgres();
    closing.push(postgres.close);
    const database = { url: postgres.url, sql: postgres.sql, close: async () => {} };
    const door = await openDatabaseDoor(postgres.url);
    closing.push(door.close);
    const lab = await startRailLab(options.hasRails ? ALL_RAILS : [], database);
    closing.push(lab.close);
    const shared = { ...NO_RATE_LIMITS, PUBLIC_URL, RECEIPT_KEY: newReceiptKeyPem(), ...lab.environment };
    const ports = await Promise.all(Array.from({ length: options.gateways }, findFreePort));
    const fleet = await startFleet(options.gateways, (place) => {
      const dataDir = join(folder, `gateway-${place}`);
      mkdirSync(dataDir, { recursive: true });
      const env = {
        ...gatewayEnvironment({ database: { ...database, url: door.url }, env: shared }, dataDir),
        LOG_LEVEL: 'warn',
      };
      const port = ports[place] ?? 0;
      return { env, port, mutant, logFile: join(folder, `gateway-${place}.log`) };
    });
    closing.push(fleet.close);
    return { options, postgres, door, lab, fleet, folder, close };
  } catch (cause) {
    await close();
    throw cause;
  }
}

/** A server of others is never killed or stopped, whatever the plan says. */
function share({ url, sql }: Pick<StormPostgres, 'url' | 'sql'>): StormPostgres {
  return { url, sql, kill: async () => false, freeze: async () => false, close: async () => {} };
}
