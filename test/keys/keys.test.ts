import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { InvariantError } from '../../src/core/invariant.ts';
import { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import { createKeys, type KeyToIssue, keyGuard, newKeyText } from '../../src/keys/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/** A clock that stands until it is moved, and keys as one gateway process has them. */
function createGateway() {
  let now = new Date();
  const clock = { now: () => now };
  return {
    keys: createKeys({ sql: database.sql, clock }),
    wait: (ms: number) => {
      now = new Date(now.getTime() + ms);
    },
    now: () => now,
  };
}

async function issue(overrides: Partial<KeyToIssue> = {}) {
  const key: KeyToIssue = { keyText: newKeyText(), accountId: newUuid(), scopes: ['invoke'], ...overrides };
  const { keys } = createGateway();
  const { id } = await withTransaction(database.sql, (tx) => keys.issue(tx, key));
  return { ...key, id };
}

async function listGuarded(ids: string[]): Promise<string[]> {
  const rows = await database.sql.unsafe<{ id: string }[]>(keyGuard(1), [ids]);
  return rows.map((row) => row.id);
}

async function countSleepers(db: TestDatabase): Promise<number> {
  const rows = await db.sql`
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`;
  return rows.length;
}

describe('an issued key', () => {
  it('resolves to its account, publisher and scopes', async () => {
    const publisherId = newUuid();
    const key = await issue({ publisherId, scopes: ['example', 'publish', 'publish'], label: 'mine' });
    expect(await createGateway().keys.resolve(key.keyText)).toEqual({
      keyId: key.id,
      accountId: key.accountId,
      publisherId,
      scopes: ['example', 'publish'],
      ...{ ancestorIds: [], capIds: [], tools: undefined },
    });
  });

  it('leaves neither its text nor anything but its hash in the database', async () => {
    const key = await issue();
    const [row] = await database.sql<{ text: string }[]>`
      SELECT api_key::text AS text FROM api_key WHERE id = ${key.id}`;
    expect(row?.text).not.toContain(key.keyText.slice(4));
  });

  it('is the same key when its text is issued again, also 20 times at once', async () => {
    const { keys } = createGateway();
    const key: KeyToIssue = { keyText: newKeyText(), accountId: newUuid(), scopes: ['invoke'] };
    const issued = await Promise.all(
      Array.from({ length: 20 }, () => withTransaction(database.sql, (tx) => keys.issue(tx, key))),
    );
    expect(new Set(issued.map(({ id }) => id)).size).toBe(1);
    expect(await keys.list({ accountId: key.accountId })).toHaveLength(1);
  });

  it('is never issued to a second account', async () => {
    const key = await issue();
    await expect(issue({ keyText: key.keyText })).rejects.toThrow(InvariantError);
    expect((await createGateway().keys.resolve(key.keyText))?.accountId).toBe(key.accountId);
  });

  it('is refused without a scope, with an unknown one, or in another form', async () => {
    await expect(issue({ scopes: [] })).rejects.toThrow(InvariantError);
    await expect(issue({ scopes: ['root' as 'all'] })).rejects.toThrow(InvariantError);
    await expect(issue({ keyText: 'mcp_short' })).rejects.toThrow(InvariantError);
  });

  it('does not exist when the transaction that issued it rolls back', async () => {
    const { keys } = createGateway();
    const keyText = newKeyText();
    await withTransaction(database.sql, async (tx) => {
      await keys.issue(tx, { keyText, accountId: newUuid(), scopes: ['all'] });
      throw new Error('the payment did not go through');
    }).catch(() => {});
    expect(await keys.resolve(keyText)).toBeUndefined();
  });

  it('works the moment it is committed, even when it was asked for before', async () => {
    const { keys } = createGateway();
    const keyText = newKeyText();
    expect(await keys.resolve(keyText)).toBeUndefined();
    await issue({ keyText });
    expect(await keys.resolve(keyText)).toBeDefined();
  });

  it('gives nothing for a scope this version does not know', async () => {
    const key = await issue();
    await database.sql`UPDATE api_key SET scopes = '{superuser}' WHERE id = ${key.id}`;
    expect((await createGateway().keys.resolve(key.keyText))?.scopes).toEqual([]);
  });
});

describe('an invalid key', () => {
  it('resolves to nobody: unknown, malformed, or a hash in its place', async () => {
    const { keys } = createGateway();
    const key = await issue();
    expect(await keys.resolve(newKeyText())).toBeUndefined();
    expect(await keys.resolve(`${key.keyText} `)).toBeUndefined();
    expect(await keys.resolve(key.keyText.toUpperCase())).toBeUndefined();
    expect(await keys.resolve("' OR true --")).toBeUndefined();
  });

  it('resolves to nobody once it has expired, cached or not', async () => {
    const gateway = createGateway();
    const key = await issue({ expiresAt: new Date(gateway.now().getTime() + 500) });
    expect(await gateway.keys.resolve(key.keyText)).toBeDefined();
    gateway.wait(499);
    expect(await gateway.keys.resolve(key.keyText)).toBeDefined();
    gateway.wait(1);
    expect(await gateway.keys.resolve(key.keyText)).toBeUndefined();
    gateway.wait(10_000);
    expect(await gateway.keys.resolve(key.keyText)).toBeUndefined();
  });
});

describe('revocation', () => {
  it('ends a key at once in this gateway and within a second in another', async () => {
    const here = createGateway();
    const there = createGateway();
    const key = await issue();
    expect(await here.keys.resolve(key.keyText)).toBeDefined();
    expect(await there.keys.resolve(key.keyText)).toBeDefined();
    await here.keys.revoke({ accountId: key.accountId, keyId: key.id });
    expect(await here.keys.resolve(key.keyText)).toBeUndefined();
    there.wait(1_000);
    expect(await there.keys.resolve(key.keyText)).toBeUndefined();
  });

  it('is not forgotten by lookups that were under way', async () => {
    const { keys } = createGateway();
    const key = await issue();
    const lookups = Array.from({ length: 20 }, () => keys.resolve(key.keyText));
    await keys.revoke({ accountId: key.accountId, keyId: key.id });
    await Promise.all(lookups);
    expect(await keys.resolve(key.keyText)).toBeUndefined();
  });

  it('is not undone by a lookup that read before it and answers after it', async () => {
    const slow = await createTestDatabase();
    try {
      const keys = createKeys({ sql: slow.sql, clock: { now: () => new Date(0) } });
      const key: KeyToIssue = { keyText: newKeyText(), accountId: newUuid(), scopes: ['invoke'] };
      const { id } = await withTransaction(slow.sql, (tx) => keys.issue(tx, key));
      // Only lookups pass through the slow part, after their snapshot was taken.
      await slow.sql`ALTER TABLE api_key RENAME TO api_key_table`;
      await slow.sql`
        CREATE VIEW api_key AS SELECT * FROM api_key_table
        WHERE current_query() NOT LIKE '%WHERE hash%' OR pg_sleep(0.5) IS NOT NULL`;
      let isAnswered = false;
      const lookup = keys.resolve(key.keyText).then(() => {
        isAnswered = true;
      });
      await expect.poll(() => countSleepers(slow)).toBe(1);
      await keys.revoke({ accountId: key.accountId, keyId: id });
      expect(isAnswered).toBe(false);
      await lookup;
      expect(await keys.resolve(key.keyText)).toBeUndefined();
    } finally {
      await slow.close();
    }
  });

  it('is seen by the charge statement whatever a gateway remembers', async () => {
    const { keys } = createGateway();
    const [revoked, expired, good] = [await issue(), await issue({ expiresAt: new Date(0) }), await issue()];
    await keys.revoke({ accountId: revoked.accountId, keyId: revoked.id });
    expect(await listGuarded([revoked.id, expired.id, good.id, newUuid()])).toEqual([good.id]);
  });

  it('may be repeated and keeps its first time', async () => {
    const { keys } = createGateway();
    const key = await issue();
    await keys.revoke({ accountId: key.accountId, keyId: key.id });
    const [first] = await keys.list({ accountId: key.accountId });
    await keys.revoke({ accountId: key.accountId, keyId: key.id });
    expect(first?.revokedAt).toBeInstanceOf(Date);
    expect(await keys.list({ accountId: key.accountId })).toEqual([first]);
  });

  it("finds neither someone else's key nor one that never was, and changes nothing", async () => {
    const { keys } = createGateway();
    const key = await issue();
    for (const keyId of [key.id, newUuid(), 'not-an-id']) {
      const refusal = await keys.revoke({ accountId: newUuid(), keyId }).catch((error: unknown) => error);
      expect(refusal).toBeInstanceOf(Problem);
      expect(refusal).toMatchObject({ type: 'not-found', message: 'Your account has no key with this id.' });
    }
    expect(await keys.resolve(key.keyText)).toBeDefined();
  });
});

describe('the list of keys', () => {
  it("holds an account's own keys, newest first, without text or hash", async () => {
    const { keys } = createGateway();
    const accountId = newUuid();
    const first = await issue({ accountId, label: 'first' });
    const second = await issue({ accountId, label: 'second', scopes: ['read'] });
    await issue();
    const listed = await keys.list({ accountId });
    expect(listed.map(({ id, label, scopes }) => ({ id, label, scopes }))).toEqual([
      { id: second.id, label: 'second', scopes: ['read'] },
      { id: first.id, label: 'first', scopes: ['invoke'] },
    ]);
    expect(Object.keys(listed[0] ?? {}).sort()).toEqual([
      'capIds',
      'createdAt',
      'expiresAt',
      'id',
      'label',
      'parentId',
      'revokedAt',
      'scopes',
      'tools',
    ]);
    expect(await keys.list({ accountId: newUuid() })).toEqual([]);
  });
});

describe('the guard of the charge statement', () => {
  it('takes nothing but a parameter number', () => {
    expect(keyGuard(5)).toContain('ANY($5::uuid[])');
    for (const bad of [0, -1, 1.5, Number.NaN]) expect(() => keyGuard(bad)).toThrow(InvariantError);
  });
});
