import { join, resolve } from 'node:path';
import { type Config, ConfigError } from '../config.ts';
import type { Log } from '../core/log.ts';
import { migrate, openDatabase, reachDatabase, type Sql, startEmbeddedPostgres } from '../db/index.ts';

const MIGRATIONS = resolve(import.meta.dirname, '../../migrations');
/** Hold, charge, capture and release are batched apart; what finds none of these waits for one in the driver. */
const CHARGE_POOL_MAX = 4;

export type Store = {
  sql: Sql;
  /** For the charge statements alone: they want plans of their own. */
  chargeSql: Sql;
  close(): Promise<void>;
};

/** What a gateway's pools reach, and its tables as this release wants them. */
export type PreparedStore = { url: string; close(): Promise<void> };

/** Starts the embedded server where no other is named, or waits for that one, and brings the tables up to date. */
export async function prepareStore(config: Config, log: Log): Promise<PreparedStore> {
  const server = await reachServer(config, log);
  if (config.databaseUrl !== undefined) {
    const reason = await reachDatabase({ url: config.databaseUrl, log });
    if (reason !== undefined) throw new ConfigError(`the database of DATABASE_URL cannot be used: ${reason}`);
  }
  await migrate({ url: server.url, folder: MIGRATIONS, log });
  return server;
}

/**
 * The embedded server is there while one process that reached it is: a worker whose supervisor was killed
 * still has it until it has drained, and then stops it.
 */
export async function reachServer(config: Config, log: Log): Promise<PreparedStore> {
  if (config.databaseUrl !== undefined) return { url: config.databaseUrl, close: async () => {} };
  return startEmbeddedPostgres({ dataDir: join(config.dataDir, 'pg'), log });
}

/** The pools of one gateway process over a store that is prepared. */
export function openStore(config: Config, prepared: PreparedStore, settings: Record<string, string>): Store {
  const { url } = prepared;
  const alike = { url, endsSilence: true };
  const database = openDatabase({ ...alike, poolMax: config.databasePoolMax, applicationName: 'millicent' });
  const charging = openDatabase({
    ...{ ...alike, poolMax: CHARGE_POOL_MAX, applicationName: 'millicent-charge', settings },
  });
  return {
    sql: database.sql,
    chargeSql: charging.sql,
    async close() {
      await charging.close();
      await database.close();
      await prepared.close();
    },
  };
}
