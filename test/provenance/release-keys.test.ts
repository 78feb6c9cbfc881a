import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import { createReleaseKeys, decodeLeaf, type ReleaseKeys, readLog } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createSigningTools } from '../harness/signing-tools.ts';

const tools = createSigningTools();
const { ssh, gpg, minisign } = tools;
const DAY_MS = 86_400_000;
const archive = Buffer.from('the canonical archive');
const start = new Date();
let now = start;
const inDays = (days: number) => new Date(start.getTime() + days * DAY_MS);

let database: TestDatabase;
let keys: ReleaseKeys;

beforeAll(async () => {
  database = await createTestDatabase();
  keys = createReleaseKeys({
    ...{ sql: database.sql, clock: { now: () => now } },
    ...{ logOrigin: 'log.example', publicUrl: 'https://market.example/x' },
  });
});
afterAll(async () => {
  tools.remove();
  await database?.close();
});

/** A key of a format, with what its owner does with it. */
type Owned = {
  format: 'ssh' | 'openpgp' | 'minisign';
  key: string;
  sign(data: Uint8Array, namespace: string): string;
};

function makeSsh(): Owned {
  const { path, publicKey } = ssh.makeKey();
  return { format: 'ssh', key: publicKey, sign: (data, namespace) => ssh.sign(path, data, { namespace }) };
}

function makeGpg(input: Parameters<typeof gpg.makeKey>[0] = {}): Owned {
  const fingerprint = gpg.makeKey({ at: inDays(-1), ...input });
  return { format: 'openpgp', key: gpg.exportKey(fingerprint), sign: (data) => gpg.sign(fingerprint, data) };
}

function makeMinisign(): Owned {
  const { path, publicKey } = minisign.makeKey();
  return { format: 'minisign', key: publicKey, sign: (data) => minisign.sign(path, data) };
}

function register(owned: Owned, publisherId: string, over: { proof?: string; expiresAt?: Date } = {}) {
  const { text, namespace } = keys.proofFor(publisherId);
  const proof = over.proof ?? owned.sign(Buffer.from(text), namespace);
  return keys.register({
    publisherId,
    format: owned.format,
    key: owned.key,
    proof,
    expiresAt: over.expiresAt,
  });
}

function judge(owned: Owned, publisherId: string, over: { at?: Date; archive?: Uint8Array } = {}) {
  const signature = owned.sign(archive, keys.releaseNamespace);
  return keys.judge({ publisherId, signature, archive, at: now, ...over });
}

async function readLeaf(index: bigint) {
  const [row] = await readLog(database.sql, { fromIndex: index, entriesMax: 1 });
  return row && decodeLeaf(row.entry);
}

const countLeaves = async () => (await readLog(database.sql, { fromIndex: 0n, entriesMax: 1_000 })).length;

test.each([makeSsh, makeGpg, makeMinisign])(
  'a key that its publisher owns enters the log once, and its releases verify (%o)',
  async (make) => {
    const publisherId = randomUUID();
    const owned = make();
    const key = await register(owned, publisherId);
    const time = Math.floor(now.getTime() / 1000);
    expect(await readLeaf(key.addedIndex)).toEqual({
      ...{ kind: 'key-add', publisher: publisherId, format: owned.format, key: key.keyId },
      ...{ public: key.publicKey.toString('base64'), expires: 0, time },
    });
    const leaves = await countLeaves();
    expect(await register(owned, publisherId)).toEqual(key);
    expect(await countLeaves()).toBe(leaves);
    expect(await keys.list(publisherId)).toEqual([key]);
    expect(await judge(owned, publisherId)).toMatchObject({ kind: 'verified', keyId: key.keyId });
    expect(await judge(owned, publisherId, { archive: Buffer.from('tampered') })).toMatchObject({
      reason: expect.stringContaining('over these bytes'),
    });
    expect(await judge(make(), publisherId)).toMatchObject({
      reason: expect.stringContaining("by none of its publisher's keys"),
    });
    expect(await judge(owned, randomUUID())).toMatchObject({
      reason: expect.stringContaining('has no key of this kind'),
    });
  },
);

test('nobody registers a key that is not theirs: the proof names the publisher', async () => {
  const [owner, thief] = [randomUUID(), randomUUID()];
  for (const owned of [makeSsh(), makeGpg(), makeMinisign()]) {
    const { text, namespace } = keys.proofFor(owner);
    const proofs = [
      owned.sign(Buffer.from(text), namespace),
      // A release says nothing of who owns the key that signed it.
      owned.sign(archive, keys.releaseNamespace),
      'nothing',
    ];
    for (const proof of proofs) {
      await expect(register(owned, thief, { proof })).rejects.toMatchObject({
        type: 'malformed-request',
        options: { members: { field: 'proof' } },
      });
    }
  }
  const owned = makeSsh();
  const release = owned.sign(Buffer.from(keys.proofFor(owner).text), keys.releaseNamespace);
  await expect(register(owned, owner, { proof: release })).rejects.toMatchObject({
    type: 'malformed-request',
  });
  expect(await keys.list(thief)).toEqual([]);
});

test('a revoked key verifies nothing from then on, and stays revoked', async () => {
  const publisherId = randomUUID();
  const owned = makeSsh();
  const { keyId } = await register(owned, publisherId);
  const before = now;
  now = inDays(1);
  const revoked = await keys.revoke({ publisherId, keyId });
  expect(await readLeaf(revoked.revokedIndex ?? -1n)).toEqual({
    ...{ kind: 'key-revoke', publisher: publisherId, format: 'ssh', key: keyId },
    time: Math.floor(now.getTime() / 1000),
  });
  const leaves = await countLeaves();
  expect(await keys.revoke({ publisherId, keyId })).toEqual(revoked);
  expect(await countLeaves()).toBe(leaves);
  expect(await judge(owned, publisherId)).toMatchObject({
    reason: expect.stringContaining('was revoked on'),
  });
  // Another gateway's clock may be behind.
  expect(await judge(owned, publisherId, { at: before })).toMatchObject({ kind: 'refused' });
  await expect(register(owned, publisherId)).rejects.toMatchObject({ type: 'conflict' });
  await expect(keys.revoke({ publisherId: randomUUID(), keyId })).rejects.toMatchObject({
    type: 'not-found',
  });
  now = start;
});

test('a key counts from its registration to its end: its publisher names one, or the key itself does', async () => {
  const publisherId = randomUUID();
  const byPublisher = makeSsh();
  const byKey = makeGpg({ expires: '5d' });
  const { expiresAt } = await register(byPublisher, publisherId, { expiresAt: inDays(3) });
  expect(expiresAt).toEqual(new Date(Math.floor(inDays(3).getTime() / 1000) * 1000));
  const gpgKey = await register(byKey, publisherId, { expiresAt: inDays(30) });
  expect(gpgKey.expiresAt?.getTime()).toBeLessThan(inDays(5).getTime());
  expect(await readLeaf(gpgKey.addedIndex)).toMatchObject({
    expires: (gpgKey.expiresAt?.getTime() ?? 0) / 1000,
  });
  for (const owned of [byPublisher, byKey]) {
    expect(await judge(owned, publisherId, { at: inDays(2) })).toMatchObject({ kind: 'verified' });
    expect(await judge(owned, publisherId, { at: inDays(6) })).toMatchObject({
      reason: expect.stringContaining('expired on'),
    });
    expect(await judge(owned, publisherId, { at: inDays(-0.5) })).toMatchObject({ kind: 'refused' });
  }
});

test('of the same key sent ten times at once, one enters the log', async () => {
  const publisherId = randomUUID();
  const owned = makeMinisign();
  const leaves = await countLeaves();
  const answers = await Promise.all(Array.from({ length: 10 }, () => register(owned, publisherId)));
  expect(new Set(answers.map(({ addedIndex }) => addedIndex)).size).toBe(1);
  expect(await countLeaves()).toBe(leaves + 1);
});

test('a key with another end is not the same key, and a publisher has sixteen at most', async () => {
  const publisherId = randomUUID();
  const first = makeSsh();
  const { keyId } = await register(first, publisherId);
  await expect(register(first, publisherId, { expiresAt: inDays(1) })).rejects.toMatchObject({
    type: 'conflict',
  });
  const others = Array.from({ length: 17 }, makeSsh);
  const results = await Promise.allSettled(others.map((owned) => register(owned, publisherId)));
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(15);
  const refused = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as Problem] : [],
  );
  for (const { type, message } of refused)
    expect([type, message]).toEqual(['conflict', expect.stringContaining('16')]);
  await keys.revoke({ publisherId, keyId });
  await register(makeSsh(), publisherId);
});

test('what a release is published under is not revoked before the publication is committed', async () => {
  const publisherId = randomUUID();
  const owned = makeSsh();
  const { keyId } = await register(owned, publisherId);
  const signature = owned.sign(archive, keys.releaseNamespace);
  const order: string[] = [];
  let revocation: Promise<unknown> | undefined;
  await withTransaction(database.sql, async (tx) => {
    const verdict = await keys.judge({ publisherId, signature, archive, at: now, tx });
    expect(verdict).toMatchObject({ kind: 'verified' });
    revocation = keys.revoke({ publisherId, keyId }).then(() => order.push('revoked'));
    await untilBlocked();
    order.push('published');
  });
  await revocation;
  expect(order).toEqual(['published', 'revoked']);
});

/** Until some connection waits for a lock of another one. */
async function untilBlocked(): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const rows = await database.sql`
      SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0`;
    if (rows.length > 0) return;
    await new Promise((done) => setTimeout(done, 25));
  }
  throw new Error('nothing waits');
}
