import { afterAll, beforeAll, expect, test } from 'vitest';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import { createKeys, newKeyText } from '../../src/keys/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const createGateway = () => createKeys({ sql: database.sql, clock: { now: () => new Date() } });

async function issue(accountId: Uuid, keyText: string): Promise<Uuid> {
  const key = { keyText, accountId, scopes: ['invoke'] as const };
  return (await withTransaction(database.sql, (tx) => createGateway().issue(tx, key))).id;
}

test('a text that was rotated away is the same key for ever, and opens nothing', async () => {
  const [accountId, first] = [newUuid(), newKeyText()];
  const keyId = await issue(accountId, first);
  const keys = createGateway();
  await keys.rotate({ accountId, keyId, keyText: newKeyText(), overlapSeconds: 0 });
  expect(await issue(accountId, first)).toBe(keyId);
  expect(await createGateway().resolve(first)).toBeUndefined();
  expect(await keys.list({ accountId })).toHaveLength(1);
});

test('a former secret is the same principal as the new one for as long as the overlap lasts', async () => {
  const [accountId, first, second] = [newUuid(), newKeyText(), newKeyText()];
  const keyId = await issue(accountId, first);
  const keys = createGateway();
  await keys.rotate({ accountId, keyId, keyText: second, overlapSeconds: 3_600 });
  expect(await keys.resolve(first)).toEqual(await keys.resolve(second));
  await database.sql`UPDATE api_key_former SET valid_until = now() WHERE key_id = ${keyId}`;
  expect(await createGateway().resolve(first)).toBeUndefined();
  expect(await createGateway().resolve(second)).toBeDefined();
});

test('a secret that was remembered before the rotation is not used after it', async () => {
  const [accountId, first] = [newUuid(), newKeyText()];
  const keyId = await issue(accountId, first);
  const keys = createGateway();
  expect(await keys.resolve(first)).toBeDefined();
  await keys.rotate({ accountId, keyId, keyText: newKeyText(), overlapSeconds: 0 });
  expect(await keys.resolve(first)).toBeUndefined();
});

test('leaves no text of any secret in the database', async () => {
  const [accountId, first, second] = [newUuid(), newKeyText(), newKeyText()];
  const keyId = await issue(accountId, first);
  await createGateway().rotate({ accountId, keyId, keyText: second, overlapSeconds: 10 });
  const rows = await database.sql<{ text: string }[]>`
    SELECT k::text AS text FROM api_key k WHERE id = ${keyId}
    UNION ALL SELECT f::text FROM api_key_former f WHERE key_id = ${keyId}`;
  expect(rows).toHaveLength(2);
  for (const secret of [first, second]) expect(JSON.stringify(rows)).not.toContain(secret.slice(4));
});
