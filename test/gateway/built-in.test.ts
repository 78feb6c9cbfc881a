import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { withTransaction } from '../../src/db/index.ts';
import { PLATFORM_PUBLISHER } from '../../src/gateway/built-in.ts';
import { publishBuiltIns } from '../../src/gateway/index.ts';
import { createLedger } from '../../src/ledger/index.ts';
import { decodeLeaf, readLog } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 8 });
});
afterAll(() => database?.close());

test('gateways of a new release that start at once log its tools once, and all of them start', async () => {
  const deps = { sql: database.sql, clock: systemClock, ledger: createLedger(database) };
  // The accounts are there since an earlier release: nothing is left to wait for but the log itself.
  await withTransaction(deps.sql, (tx) => deps.ledger.openPublisher(tx, PLATFORM_PUBLISHER));
  await Promise.all(Array.from({ length: 8 }, () => publishBuiltIns(deps)));
  const entries = await readLog(deps.sql, { fromIndex: 0n, entriesMax: 10 });
  expect(entries.map(({ entry }) => decodeLeaf(entry)?.kind)).toEqual(['publish']);
});
