export { numberIn, quote, quoteBytes, toArray } from './array-text.ts';
export {
  type Database,
  type DatabaseOptions,
  type Fragment,
  openDatabase,
  type Queryable,
  type Sql,
  type Tx,
} from './client.ts';
export { withLock } from './embedded/lock.ts';
export { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from './embedded.ts';
export { type MigrateOptions, migrate } from './migrate.ts';
export { isAnswering } from './ping.ts';
export { type ReachOptions, reachDatabase } from './reach.ts';
export { inTransaction, withTransaction } from './transaction.ts';
