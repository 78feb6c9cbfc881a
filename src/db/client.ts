import postgres from 'postgres';
import { watchSilence } from './silence.ts';

/** A pool of connections; int8 arrives as bigint, columns are camelCase in TypeScript. */
export type Sql = postgres.Sql<{ bigint: bigint }>;

/** One open transaction. */
export type Tx = postgres.TransactionSql<{ bigint: bigint }>;

/** Whatever a statement can be sent through, inside a transaction or not. */
export type Queryable = Sql | Tx;

/** A piece of a statement, made by the same template tag. */
export type Fragment = postgres.PendingQuery<postgres.Row[]>;

export type DatabaseOptions = {
  /** `postgres://user:password@host:port/name`; `?host=/directory` means the unix socket there. */
  url: string;
  poolMax: number;
  applicationName: string;
  /** The longest one statement may take; 30 seconds when left out. */
  statementTimeoutMs?: number;
  /** Further run-time settings of every connection, by their PostgreSQL names. */
  settings?: Record<string, string>;
  /** Connections on which nothing is heard any more are ended: see `silence.ts`. */
  endsSilence?: boolean;
};

export type Database = { sql: Sql; close(): Promise<void> };

const CONNECT_TIMEOUT_SECONDS = 10;
const RECONNECT_MAX_SECONDS = 1;
const CLOSE_TIMEOUT_SECONDS = 5;
const STATEMENT_TIMEOUT_MS = 30_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000;

/** Opens a pool; it connects with the first statement, and `close` lets running ones finish. */
export function openDatabase(options: DatabaseOptions): Database {
  const { url, host } = splitSocketHost(options.url);
  const { endsSilence, ...alike } = options;
  const silence = endsSilence
    ? watchSilence(() =>
        openDatabase({ ...alike, poolMax: 1, applicationName: `${alike.applicationName}-asks` }),
      )
    : undefined;
  const sql: Sql = postgres(url, {
    ...(silence && { watch: silence.watch }),
    ...(host === undefined ? {} : { host }),
    max: options.poolMax,
    connect_timeout: CONNECT_TIMEOUT_SECONDS,
    // The driver's own waits grow to 20 s, for all of a pool: a server that is back would be found that much later.
    backoff: (tries) => (0.5 + Math.random() / 2) * Math.min(3 ** tries / 100, RECONNECT_MAX_SECONDS),
    prepare: true,
    types: { bigint: postgres.BigInt },
    // Only the names of columns change case: `postgres.camel` would also rename members inside jsonb.
    transform: { column: { to: postgres.fromCamel, from: postgres.toCamel } },
    onnotice: () => {},
    connection: {
      application_name: options.applicationName,
      statement_timeout: options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS,
      // What is asked here is asked again and again: compiling it would cost more than running it.
      jit: 'off',
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
      ...options.settings,
    },
  });
  return {
    sql,
    async close() {
      await sql.end({ timeout: CLOSE_TIMEOUT_SECONDS });
      silence?.stop();
    },
  };
}

/**
 * The socket directory of `?host=/directory` or `//%2Fdirectory`, taken out of the address: the driver
 * understands neither there, but takes it as an option.
 */
function splitSocketHost(address: string): { url: string; host: string | undefined } {
  const url = new URL(address);
  const authority = url.hostname.startsWith('%2F') ? decodeURIComponent(url.hostname) : undefined;
  const host = url.searchParams.get('host') ?? authority;
  url.searchParams.delete('host');
  if (host !== undefined) url.hostname = 'localhost';
  return { url: url.href, host };
}
