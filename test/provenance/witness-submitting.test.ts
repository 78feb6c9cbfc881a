import { createServer, type Server } from 'node:http';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { addMs, type Clock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { wireWitnesses } from '../../src/deps/witnesses.ts';
import { createWitnessing, LogDivergedError, type TransparencyLog } from '../../src/provenance/index.ts';
import { verifyCheckpoint } from '../../src/provenance/log/checkpoint.ts';
import { signLine } from '../../src/provenance/log/note.ts';
import { createNoteSigner, KEY_TYPES, type NoteSigner, parseVkey } from '../../src/provenance/log/vkey.ts';
import { decodeAddCheckpoint } from '../../src/provenance/witness/add-checkpoint.ts';
import { serveWitness } from '../../src/provenance/witness/server.ts';
import { createTurns } from '../../src/provenance/witness/state-folder.ts';
import { createWitness } from '../../src/provenance/witness/witness.ts';
import { witnessSource } from '../../src/provenance/witness/witnessing.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createMemoryLog, newEd25519Pem } from '../harness/memory-log.ts';
import { appendMany, createTestLog, LOG_KEY } from './log-fixtures.ts';

const databases: TestDatabase[] = [];
const closers: (() => Promise<unknown>)[] = [];
let database: TestDatabase;
let versions: TransparencyLog;
let receipts: TransparencyLog;
let now: Date;
const clock: Clock = { now: () => now };

beforeEach(async () => {
  database = await createTestDatabase();
  databases.push(database);
  versions = createTestLog(database.sql);
  receipts = createTestLog(database.sql, { name: 'receipts', origin: 'gateway.example/receipts' });
  now = new Date();
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});
afterAll(async () => {
  for (const { close } of databases) await close();
});

function newWitnessSigner(name = 'witness.example/w1'): NoteSigner {
  return createNoteSigner({ name, privateKeyPem: newEd25519Pem(), type: KEY_TYPES.cosignature });
}

/** A real witness of both logs, that keeps its state in memory. */
async function startWitness(signer: NoteSigner) {
  const notes = new Map<string, string>();
  const witness = await createWitness({
    ...{ signer, clock, logs: [...versions.vkeys, ...receipts.vkeys].map(parseVkey), onFork: () => {} },
    store: {
      alone: createTurns(),
      read: async (origin) => notes.get(origin),
      write: async (origin, note) => void notes.set(origin, note),
    },
  });
  const { url, close } = await serveWitness({ witness, log: silentLog }, { host: '127.0.0.1', port: 0 });
  closers.push(close);
  return { url, vkey: signer.vkey, notes };
}

/** A witness that answers as it likes. */
async function startLiar(
  answer: (body: Buffer) => { status: number; type?: string; body: string } | 'nothing',
) {
  let asked = 0;
  const server: Server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.method === 'POST') asked += 1;
    const said = request.method === 'POST' ? answer(Buffer.concat(chunks)) : { status: 404, body: '' };
    if (said === 'nothing') return;
    response.writeHead(said.status, { 'content-type': said.type ?? 'text/plain' }).end(said.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    asked: () => asked,
  };
}

const newWitnessing = (witness: { url: string; vkey: string }) =>
  createWitnessing({ logs: { versions, receipts }, witness, clock, log: silentLog });
const run = (witnessing: { run(signal: AbortSignal): Promise<void> }) =>
  witnessing.run(AbortSignal.timeout(30_000));

async function cosignersOf(log: TransparencyLog, ...witnesses: string[]): Promise<string[]> {
  const checkpoint = await log.findCheckpoint();
  const expected = {
    origin: log.origin,
    logKeys: log.vkeys.map(parseVkey),
    witnesses: witnesses.map(parseVkey),
  };
  return verifyCheckpoint(checkpoint?.note ?? '', expected).cosignatures.map(({ key }) => key.vkey);
}

test('the newest checkpoint of each log is cosigned, from where the witness is, and asked for once', async () => {
  const witness = await startWitness(newWitnessSigner());
  const witnessing = newWitnessing(witness);
  await run(witnessing);
  expect(witness.notes.size).toBe(0);
  await appendMany(database.sql, versions, 300);
  await versions.sign();
  await run(witnessing);
  expect(await cosignersOf(versions, witness.vkey)).toEqual([witness.vkey]);
  for (const count of [1, 255, 40]) {
    await appendMany(database.sql, versions, count);
    await appendMany(database.sql, receipts, count);
    await Promise.all([versions.sign(), receipts.sign()]);
    await run(witnessing);
    for (const log of [versions, receipts])
      expect(await cosignersOf(log, witness.vkey)).toEqual([witness.vkey]);
  }
  // After a restart the size is learned from the witness.
  await appendMany(database.sql, versions, 7);
  await versions.sign();
  const restarted = newWitnessing(witness);
  await run(restarted);
  expect(await cosignersOf(versions, witness.vkey)).toEqual([witness.vkey]);
  expect(restarted.status()).toEqual([
    { witness: 'witness.example/w1', log: 'versions', cosignedSize: 603, health: { kind: 'ok' } },
    { witness: 'witness.example/w1', log: 'receipts', cosignedSize: 296, health: { kind: 'ok' } },
  ]);
  const held = witness.notes.get(versions.origin);
  now = addMs(now, 60_000);
  await run(restarted);
  expect(witness.notes.get(versions.origin)).toBe(held);
});

test('two gateways that submit at once both end with the cosignature', async () => {
  const witness = await startWitness(newWitnessSigner());
  const both = [newWitnessing(witness), newWitnessing(witness)];
  await appendMany(database.sql, versions, 5);
  await versions.sign();
  await Promise.all(both.map(run));
  await appendMany(database.sql, versions, 5);
  await versions.sign();
  await Promise.all(both.map(run));
  expect(await cosignersOf(versions, witness.vkey)).toEqual([witness.vkey]);
  for (const one of both) expect(one.status()[0]).toMatchObject({ cosignedSize: 10, health: { kind: 'ok' } });
});

test.each<[string, (signer: NoteSigner, body: Buffer) => { status: number; type?: string; body: string }]>([
  ['nothing', () => ({ status: 200, body: '' })],
  ['a text', () => ({ status: 200, body: 'cosigned\n' })],
  ['the line of another key', (_, body) => ({ status: 200, body: lineFor(newWitnessSigner(), body) })],
  [
    'a line for another checkpoint',
    (signer) => ({ status: 200, body: signLine('gateway.example\n9\nAA==\n', signer, 1) }),
  ],
  ['a time long gone', (signer, body) => ({ status: 200, body: lineFor(signer, body, 1) })],
  [
    'a time to come',
    (signer, body) => ({ status: 200, body: lineFor(signer, body, Date.now() / 1_000 + 9_999) }),
  ],
  ['a size that there is not', () => ({ status: 409, type: 'text/x.tlog.size', body: '999\n' })],
  ['no size', () => ({ status: 409, type: 'text/x.tlog.size', body: 'many\n' })],
  ['the size it was told', () => ({ status: 409, type: 'text/x.tlog.size', body: '0\n' })],
  ['that it does not fit', () => ({ status: 422, body: 'no\n' })],
  ['another place', () => ({ status: 302, body: '' })],
  ['too much', () => ({ status: 200, body: 'x'.repeat(1_000_000) })],
])(
  'a witness that answers %s is not believed, is asked less and less, and harms nothing',
  async (_, answer) => {
    const signer = newWitnessSigner();
    const liar = await startLiar((body) => answer(signer, body));
    const witnessing = newWitnessing({ url: liar.url, vkey: signer.vkey });
    await appendMany(database.sql, versions, 3);
    await versions.sign();
    await run(witnessing);
    expect(await cosignersOf(versions, signer.vkey)).toEqual([]);
    expect(witnessing.status()[0]).toMatchObject({ cosignedSize: 0, health: { kind: 'down' } });
    expect(versions.health()).toEqual({ kind: 'sound' });
    const asked = liar.asked();
    await run(witnessing);
    expect(liar.asked()).toBe(asked);
    now = addMs(now, 5_001);
    await run(witnessing);
    expect(liar.asked()).toBeGreaterThan(asked);
    const again = liar.asked();
    now = addMs(now, 5_001);
    await run(witnessing);
    expect(liar.asked()).toBe(again);
  },
);

function lineFor(signer: NoteSigner, body: Buffer, time = Date.now() / 1_000): string {
  const { checkpoint } = decodeAddCheckpoint(body);
  return signLine(checkpoint.slice(0, checkpoint.lastIndexOf('\n\n') + 1), signer, Math.floor(time));
}

test('a witness that hangs ends with its bound, and the others cosign meanwhile', async () => {
  const [good, hanging] = [await startWitness(newWitnessSigner()), await startLiar(() => 'nothing')];
  const wired = wireWitnesses({
    config: { witnesses: [{ url: hanging.url, vkey: newWitnessSigner('hanging.example').vkey }, good] },
    ...{ logs: { versions, receipts }, clock, log: silentLog },
  });
  expect(wired.jobs.map(({ name }) => name)).toEqual(['cosign-hanging.example', 'cosign-witness.example/w1']);
  await appendMany(database.sql, versions, 3);
  await versions.sign();
  const signal = AbortSignal.timeout(40_000);
  const [slow, quick] = wired.jobs.map((job) => job.run(signal));
  await quick;
  expect(await cosignersOf(versions, good.vkey)).toEqual([good.vkey]);
  await slow;
  expect(signal.aborted).toBe(false);
  expect(wired.health()).toMatchObject({
    'witness-witness.example/w1-versions': 'ok',
    'witness-hanging.example-versions': expect.stringContaining('does not answer'),
  });
});

test('a witness that shows what our own key signed elsewhere is an alarm: the log was put back, or the key is lost', async () => {
  const signer = newWitnessSigner();
  const witness = await startWitness(signer);
  const elsewhere = createMemoryLog(createNoteSigner({ name: versions.origin, privateKeyPem: LOG_KEY }));
  elsewhere.append('one', 'two', 'three', 'four');
  witness.notes.set(
    versions.origin,
    elsewhere.note() + signLine(textOf(elsewhere.note()), signer, 1_763_702_345),
  );
  const witnessing = newWitnessing(witness);
  await appendMany(database.sql, versions, 3);
  await versions.sign();
  await run(witnessing);
  expect(versions.health()).toMatchObject({ kind: 'diverged', detail: expect.stringContaining('4 leaves') });
  expect(receipts.health()).toEqual({ kind: 'sound' });
});

test('the same size under another root is the same alarm', async () => {
  const signer = newWitnessSigner();
  const witness = await startWitness(signer);
  const elsewhere = createMemoryLog(createNoteSigner({ name: versions.origin, privateKeyPem: LOG_KEY }));
  elsewhere.append('one', 'two', 'three');
  witness.notes.set(
    versions.origin,
    elsewhere.note() + signLine(textOf(elsewhere.note()), signer, 1_763_702_345),
  );
  await appendMany(database.sql, versions, 5);
  await versions.sign();
  await run(newWitnessing(witness));
  expect(versions.health()).toMatchObject({ kind: 'diverged', detail: expect.stringContaining('3 leaves') });
});

test('a gateway that starts on a restored backup asks its witness before it signs, and then signs nothing', async () => {
  const signer = newWitnessSigner();
  const witness = await startWitness(signer);
  await appendMany(database.sql, versions, 3);
  await versions.sign();
  await run(newWitnessing(witness));
  expect(await cosignersOf(versions, witness.vkey)).toEqual([witness.vkey]);
  // What the witness cosigned after the backup was made; the newest checkpoint that the backup has is cosigned too.
  const lost = createMemoryLog(createNoteSigner({ name: versions.origin, privateKeyPem: LOG_KEY }));
  lost.append('one', 'two', 'three', 'four');
  witness.notes.set(versions.origin, lost.note() + signLine(textOf(lost.note()), signer, 1_763_702_345));
  const watchers = [witnessSource(witness)];
  const restarted = createTestLog(database.sql, { watchers });
  await appendMany(database.sql, restarted, 9);
  expect((await restarted.sign())?.treeSize).toBe(3);
  const witnessing = createWitnessing({
    ...{ logs: { versions: restarted, receipts }, witness, clock, log: silentLog },
  });
  await run(witnessing);
  await expect(restarted.sign()).rejects.toThrow(LogDivergedError);
  expect((await restarted.findCheckpoint())?.treeSize).toBe(3);
  // The proof stands, whatever the witness shows later.
  witness.notes.delete(versions.origin);
  now = addMs(now, 3_600_000);
  await run(witnessing);
  expect(restarted.health().kind).toBe('diverged');
});

test('after a rotation, what a witness holds under the former key is compared, and new leaves are signed', async () => {
  const witness = await startWitness(newWitnessSigner());
  await appendMany(database.sql, versions, 3);
  await versions.sign();
  await run(newWitnessing(witness));
  const restarted = createTestLog(database.sql, {
    watchers: [witnessSource(witness)],
    keys: { currentPem: newEd25519Pem() },
  });
  await appendMany(database.sql, restarted, 2);
  expect((await restarted.sign())?.treeSize).toBe(3);
  await run(createWitnessing({ logs: { versions: restarted, receipts }, witness, clock, log: silentLog }));
  expect(restarted.health()).toEqual({ kind: 'sound' });
  expect((await restarted.sign())?.treeSize).toBe(5);
});

function textOf(note: string): string {
  return note.slice(0, note.lastIndexOf('\n\n') + 1);
}

test('a key of the wrong kind is refused when the gateway starts', () => {
  const vkey = versions.vkeys[0] ?? '';
  expect(() => newWitnessing({ url: 'http://127.0.0.1:1', vkey })).toThrow('type 4');
});
