import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { newUuid } from '../../src/core/ids.ts';
import { silentLog } from '../../src/core/log.ts';
import { millicents } from '../../src/core/money.ts';
import { confirmSettlements, creditLateArrivals, reconcileSettlements } from '../../src/gateway/index.ts';
import { listJobs } from '../../src/jobs/index.ts';
import { insertClaim, type Rail, type RailName } from '../../src/payments/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { waitUntil } from '../harness/process.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/** A payment of this rail that a job has to look at. */
async function insertOpen(rail: RailName, columns: { state: string; reference: string | null }) {
  const claimKey = `${rail}:${randomBytes(8).toString('hex')}`;
  const paymentHash = randomBytes(32).toString('hex');
  await database.sql.begin((tx) =>
    insertClaim(tx, {
      ...{ claimKey, payer: claimKey, purpose: 'topup', rail, wire: null, accountId: newUuid() },
      ...{ amount: millicents(250n), requestDigest: 'ab'.repeat(32), quoteHash: null, mode: 'before-run' },
      ...{ state: 'settling', worker: newUuid(), context: { purpose: 'topup' } },
      intent: {
        ...{ claimKey, payer: claimKey, unit: 'msat', units: 2_500n },
        form: { kind: 'preimage', paymentHash, preimage: '' },
        validUntil: new Date(Date.now() - 60_000),
      },
    }),
  );
  await database.sql`UPDATE payment_claim SET ${database.sql(columns)} WHERE claim_key = ${claimKey}`;
}

/** A rail of which only this much is asked; the hanging one never answers. */
function railOf(name: RailName, ask: () => Promise<never>): Rail {
  const rest: Omit<Rail, 'name' | 'settle' | 'lookup' | 'cancel'> = {
    forms: [],
    identify: () => ({ claimKey: '', payer: '' }),
    offer: async () => [],
    verify: async () => ({ kind: 'unavailable', cause: undefined }),
    balances: async () => [],
  };
  return { ...rest, name, settle: ask, lookup: ask, cancel: async () => {} };
}

test.each([
  { job: reconcileSettlements, columns: { state: 'settling', reference: null } },
  { job: creditLateArrivals, columns: { state: 'failed', reference: null } },
  { job: confirmSettlements, columns: { state: 'failed', reference: 'a transaction' } },
])('a rail that hangs keeps no other one waiting ($job.name)', async ({ job, columns }) => {
  await insertOpen('lightning', columns);
  await insertOpen('evm', columns);
  const asked: string[] = [];
  const stop = new AbortController();
  const hang = () =>
    new Promise<never>((_, reject) => {
      asked.push('lightning');
      stop.signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true });
    });
  const answer = async (): Promise<never> => {
    asked.push('evm');
    throw new Error('not now');
  };
  const rails = [railOf('lightning', hang), railOf('evm', answer)];
  const deps = {
    rails,
    ...{ sql: database.sql, log: silentLog, clock: systemClock, settings: { settleTimeoutMs: 60_000 } },
  };
  // The jobs ask for no more than this before their rail has answered.
  const done = job(deps as never, stop.signal);
  await waitUntil(async () => asked.includes('evm') && asked.includes('lightning'));
  stop.abort();
  expect(await done).toBe(2);
  await database.sql`DELETE FROM payment_claim`;
});

test('a payment that was let go is looked at once in its lease, also long after its time', async () => {
  await insertOpen('lightning', { state: 'failed', reference: null });
  let looks = 0;
  const unknown = async (): Promise<never> => {
    looks += 1;
    throw new Error('nobody knows yet');
  };
  const deps = {
    ...{ rails: [railOf('lightning', unknown)], sql: database.sql, log: silentLog, clock: systemClock },
    settings: { settleTimeoutMs: 60_000 },
  };
  for (let round = 0; round < 3; round += 1)
    await creditLateArrivals(deps as never, AbortSignal.timeout(5_000));
  expect(looks).toBe(1);
  await database.sql`DELETE FROM payment_claim`;
});

test('every rail has jobs of its own', () => {
  const rails = [railOf('lightning', () => Promise.reject()), railOf('evm', () => Promise.reject())];
  // Listing asks for nothing but the rails.
  const names = listJobs({ rails } as never).map(({ name }) => name);
  for (const job of ['reconcile-settlements', 'credit-late-arrivals', 'confirm-settlements']) {
    expect(names).toEqual(expect.arrayContaining([`${job}-lightning`, `${job}-evm`]));
  }
});
