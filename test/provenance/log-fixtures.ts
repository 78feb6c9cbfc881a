import { systemClock } from '../../src/core/clock.ts';
import { newUuid } from '../../src/core/ids.ts';
import { silentLog } from '../../src/core/log.ts';
import { type Sql, type Tx, withTransaction } from '../../src/db/index.ts';
import {
  createLog,
  dedupKeyOf,
  encodeLeaf,
  type LogDeps,
  newReceiptKeyPem,
  type PublishLeaf,
  type TransparencyLog,
} from '../../src/provenance/index.ts';

export const LOG_KEY = newReceiptKeyPem();

export function createTestLog(sql: Sql, changes: Partial<LogDeps> = {}): TransparencyLog {
  return createLog({
    ...{ sql, clock: systemClock, log: silentLog, name: 'versions', origin: 'gateway.example' },
    ...{ keys: { currentPem: LOG_KEY } },
    ...changes,
  });
}

export function createLeaf(overrides: Partial<PublishLeaf> = {}): PublishLeaf {
  return {
    kind: 'publish',
    tool: `acme/t-${newUuid()}`,
    version: '1.0.0',
    sha256: 'ab'.repeat(32),
    manifest: 'cd'.repeat(32),
    publisher: 'acme',
    time: 1_763_702_345,
    ...overrides,
  };
}

/** What a log takes of this leaf. */
export function entryOf(leaf: PublishLeaf) {
  return { entry: encodeLeaf(leaf), dedupKey: dedupKeyOf(leaf) };
}

/** Appends this many publications in one transaction. */
export function appendMany(sql: Sql, log: TransparencyLog, count: number): Promise<number[]> {
  const entries = Array.from({ length: count }, () => entryOf(createLeaf()));
  return withTransaction(sql, (tx) => log.append(tx, entries));
}

const GUARDED = ['log_entry', 'log_state', 'log_tile', 'log_checkpoint'];

/** What only who owns the tables can do: take the triggers away that refuse it. */
export function rewriteUnguarded(sql: Sql, work: (tx: Tx) => Promise<unknown>): Promise<unknown> {
  return withTransaction(sql, async (tx) => {
    for (const table of GUARDED) await tx`ALTER TABLE ${tx(table)} DISABLE TRIGGER USER`;
    await work(tx);
    for (const table of GUARDED) await tx`ALTER TABLE ${tx(table)} ENABLE TRIGGER USER`;
  });
}
