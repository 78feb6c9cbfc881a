import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import {
  adoptSettlements,
  insertClaim,
  type NewClaim,
  takeDueSettlements,
  takeVoidedClaims,
} from '../../src/payments/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

const WORKER = newUuid();
const ADDRESS = `0x${'ab'.repeat(20)}` as const;
const NETWORK = 'eip155:84532';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.close());

function claimOf(claimKey: string): NewClaim {
  const payer = `${NETWORK}:${ADDRESS}`;
  const nonce = `0x${randomBytes(32).toString('hex')}` as const;
  const validity = { value: 2_500n, validAfter: 0n, validBefore: 1_800_000_000n };
  const parties = { network: NETWORK, asset: ADDRESS, from: ADDRESS, to: ADDRESS };
  return {
    ...{ claimKey, payer, purpose: 'call', rail: 'evm', wire: 'x402', accountId: newUuid() },
    ...{ amount: millicents(250n), requestDigest: 'ab'.repeat(32), quoteHash: null, mode: 'after-run' },
    ...{ state: 'settling', worker: WORKER, context: {} },
    intent: {
      ...{ claimKey, payer, unit: `${NETWORK}/erc20:${ADDRESS}`, units: 2_500n },
      form: { kind: 'eip3009', ...parties, ...validity, nonce, signature: '0x00' },
      validUntil: new Date(Date.now() - 60_000),
    },
  };
}

/** A good claim and, for each of these changes of the intent, one that cannot be read. */
async function insertBeside(broken: object[]): Promise<void> {
  const { sql } = database;
  const keys = ['good', ...broken.map((_, index) => `broken ${index}`)];
  for (const key of keys) await sql.begin((tx) => insertClaim(tx, claimOf(key)));
  for (const [index, change] of broken.entries()) {
    await sql`UPDATE payment_claim SET intent = intent || ${sql.json(change as never)}
      WHERE claim_key = ${`broken ${index}`}`;
  }
}

const BROKEN = [
  { validUntil: '+275760-09-13T00:00:00.000Z' },
  { validUntil: 'never' },
  { units: 'many' },
  { form: null },
];
const keysWith = (claims: { claimKey: string; intent: object | null }[], isReadable: boolean) =>
  claims.filter(({ intent }) => (intent !== null) === isReadable).map(({ claimKey }) => claimKey);

test('a settlement whose intent cannot be read does not hold up the others', async () => {
  const { sql } = database;
  await insertBeside(BROKEN);
  await adoptSettlements(sql, WORKER);
  const claims = await takeDueSettlements(sql, { rail: 'evm', rowsMax: 10, leaseMs: 1_000 });
  expect(keysWith(claims, true)).toEqual(['good']);
  expect(keysWith(claims, false)).toHaveLength(BROKEN.length);
});

test('a failed claim whose validity is no date does not hide the late money of the others', async () => {
  const { sql } = database;
  await insertBeside(BROKEN);
  await sql`UPDATE payment_claim SET state = 'failed'`;
  const claims = await takeVoidedClaims(sql, { rail: 'evm', rowsMax: 10, leaseMs: 1_000 });
  expect(keysWith(claims, true)).toEqual(['good']);
});
