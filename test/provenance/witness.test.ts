import { request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sha256Hex } from '../../src/core/bytes.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { signNote, verifyNote } from '../../src/provenance/log/note.ts';
import { createNoteSigner, KEY_TYPES } from '../../src/provenance/log/vkey.ts';
import { encodeAddCheckpoint } from '../../src/provenance/witness/add-checkpoint.ts';
import { serveWitness, type WitnessServer } from '../../src/provenance/witness/server.ts';
import { createTurns } from '../../src/provenance/witness/state-folder.ts';
import {
  createWitness,
  type Fork,
  type Witness,
  type WitnessStore,
} from '../../src/provenance/witness/witness.ts';
import { createMemoryLog, type MemoryLog, newEd25519Pem, newLogSigner } from '../harness/memory-log.ts';

const ORIGIN = 'log.example/versions';
const logSigner = newLogSigner(ORIGIN);
const signer = createNoteSigner({
  name: 'witness.example/w1',
  privateKeyPem: newEd25519Pem(),
  type: KEY_TYPES.cosignature,
});

type TestStore = WitnessStore & { notes: Map<string, string>; beforeWrite(): Promise<void> };

let store: TestStore;
let log: MemoryLog;
let forks: Fork[];
let witness: Witness;
let server: WitnessServer;

beforeEach(async () => {
  store = createStore();
  log = createMemoryLog(logSigner);
  log.append(...Array.from({ length: 10 }, (_, at) => `entry ${at}`));
  forks = [];
  witness = await newWitness(store);
  server = await serveWitness({ witness, log: silentLog }, { host: '127.0.0.1', port: 0 });
});
afterEach(() => server?.close());

function createStore(): TestStore {
  const notes = new Map<string, string>();
  const made: TestStore = {
    notes,
    alone: createTurns(),
    beforeWrite: async () => {},
    read: async (origin) => notes.get(origin),
    async write(origin, note) {
      await made.beforeWrite();
      notes.set(origin, note);
    },
  };
  return made;
}

function newWitness(from: WitnessStore, clock: Clock = systemClock): Promise<Witness> {
  return createWitness({ signer, logs: [logSigner], store: from, clock, onFork: (fork) => forks.push(fork) });
}

async function post(body: string | Buffer) {
  const response = await fetch(`${server.url}/add-checkpoint`, { method: 'POST', body });
  return { status: response.status, type: response.headers.get('content-type'), body: await response.text() };
}

function body(oldSize: number, treeSize: number, from: MemoryLog = log): string {
  return encodeAddCheckpoint({
    oldSize,
    proof: from.proof(oldSize, treeSize),
    checkpoint: from.note(treeSize),
  });
}

test('a checkpoint that leads on is cosigned, and the line holds under the key that the witness has', async () => {
  const answer = await post(body(0, 3));
  expect(answer).toMatchObject({ status: 200, type: 'text/plain; charset=utf-8' });
  const cosigned = verifyNote(`${log.note(3)}${answer.body}`, [signer]);
  expect(cosigned.signatures).toHaveLength(1);
  expect(Math.abs((cosigned.signatures[0]?.time ?? 0) - Date.now() / 1_000)).toBeLessThan(60);
  expect(await post(body(3, 10))).toMatchObject({ status: 200 });
});

test('what is cosigned can be read by monitors, with the signature of the log and without those of strangers', async () => {
  const path = `${server.url}/${sha256Hex(ORIGIN)}/checkpoint`;
  expect((await fetch(path)).status).toBe(404);
  const stranger = newLogSigner(ORIGIN);
  const checkpoint = log.note(4, [logSigner, stranger]);
  expect(await post(encodeAddCheckpoint({ oldSize: 0, proof: [], checkpoint }))).toMatchObject({
    status: 200,
  });
  const note = await (await fetch(path)).text();
  expect(verifyNote(note, [signer, logSigner]).signatures).toHaveLength(2);
  expect(() => verifyNote(note, [stranger])).toThrow('No known key');
  expect((await fetch(`${server.url}/${sha256Hex('other')}/checkpoint`)).status).toBe(404);
});

test('who does not know where the witness is learns it, in the form of the specification', async () => {
  await post(body(0, 5));
  const answer = await post(body(0, 8));
  expect(answer).toEqual({ status: 409, type: 'text/x.tlog.size', body: '5\n' });
  expect(await post(body(4, 8))).toMatchObject({ status: 409, body: '5\n' });
  expect(await post(body(5, 8))).toMatchObject({ status: 200 });
  // An older checkpoint is behind what was cosigned: it would roll the log back.
  expect(await post(body(5, 6))).toMatchObject({ status: 409, body: '8\n' });
});

test('the same checkpoint is cosigned again, with a time of its own', async () => {
  let now = new Date('2026-01-01T00:00:00Z');
  witness = await newWitness(store, { now: () => now });
  const first = await witness.addCheckpoint(Buffer.from(body(0, 5)));
  now = new Date('2026-01-02T00:00:00Z');
  const second = await witness.addCheckpoint(Buffer.from(body(5, 5)));
  const times = [first, second].map((answer) =>
    answer.kind === 'cosigned'
      ? verifyNote(`${log.note(5)}${answer.signatures}`, [signer]).signatures[0]?.time
      : undefined,
  );
  expect(times).toEqual([1_767_225_600, 1_767_312_000]);
});

test('a second history under the same key is never cosigned, whatever proof comes with it, and it is told', async () => {
  await post(body(0, 5));
  const fork = createMemoryLog(logSigner);
  fork.append(...log.entries.slice(0, 4), 'another entry', 'entry 5', 'entry 6');
  expect(await post(body(5, 7, fork))).toMatchObject({ status: 422 });
  expect(forks).toEqual([]);
  expect(await post(body(5, 5, fork))).toMatchObject({ status: 422 });
  expect(await post(body(0, 5, fork))).toMatchObject({ status: 409, body: '5\n' });
  expect(forks).toHaveLength(2);
  expect(forks[0]).toMatchObject({ origin: ORIGIN, presented: fork.note(5) });
  expect(verifyNote(forks[0]?.held ?? '', [logSigner]).text).toBe(verifyNote(log.note(5), [logSigner]).text);
  // The true history goes on.
  expect(await post(body(5, 7))).toMatchObject({ status: 200 });
});

test('wrong proofs, empty trees that are none, and proofs from nothing are unprocessable', async () => {
  const proof = log.proof(5);
  const [first] = proof;
  const checkpoint = log.note();
  expect(await post(encodeAddCheckpoint({ oldSize: 0, proof, checkpoint }))).toMatchObject({ status: 422 });
  const text = `${ORIGIN}\n0\n${log.root(1).toString('base64')}\n`;
  const empty = encodeAddCheckpoint({ oldSize: 0, proof: [], checkpoint: signNote(text, [logSigner]) });
  expect(await post(empty)).toMatchObject({ status: 422 });
  expect(await post(body(0, 0))).toMatchObject({ status: 200 });
  expect(await post(body(0, 5))).toMatchObject({ status: 200 });
  for (const wrong of [
    [],
    proof.slice(1),
    [...proof, ...proof],
    [...proof].reverse(),
    first ? [first] : [],
  ]) {
    const sent = encodeAddCheckpoint({ oldSize: 5, proof: wrong, checkpoint });
    expect(await post(sent)).toMatchObject({ status: 422 });
  }
  const same = encodeAddCheckpoint({ oldSize: 5, proof, checkpoint: log.note(5) });
  expect(await post(same)).toMatchObject({ status: 422 });
  expect(await post(body(5, 10))).toMatchObject({ status: 200 });
});

test('keys that are not trusted, wrong signatures and logs that are not known are told apart', async () => {
  const stranger = newLogSigner(ORIGIN);
  const send = (checkpoint: string) => post(encodeAddCheckpoint({ oldSize: 0, proof: [], checkpoint }));
  expect(await send(log.note(5, [stranger]))).toMatchObject({ status: 403 });
  const lines = [log.note(5), log.note(6)].map((note) => note.slice(note.lastIndexOf('\u2014')));
  expect(await send(log.note(5).replace(lines[0] ?? '', lines[1] ?? ''))).toMatchObject({ status: 403 });
  const other = createMemoryLog(newLogSigner('other.example'));
  other.append('entry');
  expect(await send(other.note())).toMatchObject({ status: 404 });
  // The stranger's line beside the log's is no reason to refuse.
  expect(await send(log.note(5, [logSigner, stranger]))).toMatchObject({ status: 200 });
});

test('what is not spelled as the specification says is malformed, and nothing of it is kept', async () => {
  const good = body(0, 5);
  const note = log.note(5);
  const hash = log.root(1).toString('base64');
  const bad: (string | Buffer)[] = [
    '',
    '\n\n',
    note,
    good.replace('old 0', 'old  0'),
    good.replace('old 0', 'old 00'),
    good.replace('old 0', 'old -1'),
    good.replace('old 0', 'old 0 '),
    good.replace('old 0', 'OLD 0'),
    good.replace('old 0', 'old 9007199254740993'),
    good.replace('old 0\n', 'old 0\r\n'),
    `old 6\n\n${note}`,
    `old 0\n${hash.slice(1)}\n\n${note}`,
    `old 0\n${hash} \n\n${note}`,
    `old 0\n${hash}${hash}\n\n${note}`,
    `old 0\n${`${hash}\n`.repeat(64)}\n${note}`,
    `old 0\n\n${note.replace('\n5\n', '\n05\n')}`,
    good.slice(0, -1),
    `${good}\n`,
    Buffer.concat([Buffer.from('old 0\n\n'), Buffer.from([0xff]), Buffer.from(note)]),
  ];
  for (const one of bad) expect({ one, ...(await post(one)) }).toMatchObject({ status: 400 });
  expect(store.notes.size).toBe(0);
  // 63 hashes are still a proof, though not of this.
  expect(await post(`old 0\n${`${hash}\n`.repeat(63)}\n${note}`)).toMatchObject({ status: 422 });
});

test('no bytes make the witness throw, and nothing but a signed checkpoint is cosigned', async () => {
  const good = Buffer.from(body(0, 5));
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const bytes = Buffer.from(good);
      bytes[at] = (bytes[at] ?? 0) ^ change;
      const answer = await witness.addCheckpoint(bytes);
      expect(answer.kind).not.toBe('cosigned');
    }),
    { numRuns: 300 },
  );
});

test('of 20 logs-in-a-hurry at once none rolls another back, and each answer was kept before it was given', async () => {
  store.beforeWrite = () => new Promise((resolve) => setTimeout(resolve, 2));
  log.append(...Array.from({ length: 30 }, (_, at) => `later ${at}`));
  await post(body(0, 1));
  const climb = async (treeSize: number): Promise<number> => {
    for (let oldSize = 1; ; ) {
      const answer = await post(body(oldSize, treeSize));
      if (answer.status === 200) return treeSize;
      oldSize = Number(answer.body);
      if (oldSize > treeSize) return 0;
    }
  };
  const sizes = await Promise.all(Array.from({ length: 20 }, (_, at) => climb(at * 2 + 2)));
  expect(Math.max(...sizes)).toBe(40);
  expect(verifyNote(store.notes.get(ORIGIN) ?? '', [signer]).text).toContain('\n40\n');
  const same = await Promise.all(Array.from({ length: 20 }, () => post(body(40, 40))));
  expect(new Set(same.map(({ status }) => status))).toEqual(new Set([200]));
});

test('when nothing can be kept nothing is said, and the next one is served', async () => {
  store.beforeWrite = () => Promise.reject(new Error('the disk is full'));
  expect(await post(body(0, 5))).toMatchObject({ status: 500, body: expect.not.stringContaining('\u2014') });
  store.beforeWrite = async () => {};
  expect(await post(body(0, 5))).toMatchObject({ status: 200 });
});

test('a state that this witness did not write is refused loudly, at the start and afterwards', async () => {
  await post(body(0, 5));
  const good = store.notes.get(ORIGIN) ?? '';
  for (const bad of ['', good.slice(0, 40), good.replace('\n5\n', '\n4\n'), log.note(4)]) {
    store.notes.set(ORIGIN, bad);
    await expect(newWitness(store)).rejects.toThrow('is not what this witness cosigned');
    expect(await post(body(5, 8))).toMatchObject({ status: 500 });
  }
  store.notes.set(ORIGIN, good);
  expect(await post(body(5, 8))).toMatchObject({ status: 200 });
});

test('long bodies are cut off, other methods and paths are refused', async () => {
  const status = await new Promise((resolve) => {
    const sent = request(`${server.url}/add-checkpoint`, { method: 'POST' }, (response) => {
      resolve(response.statusCode);
      response.resume();
    });
    sent.on('error', () => {});
    sent.end(Buffer.alloc(200_000, 'x'));
  });
  expect(status).toBe(413);
  expect((await fetch(`${server.url}/add-checkpoint`)).status).toBe(405);
  expect((await fetch(`${server.url}/`)).status).toBe(404);
  expect((await fetch(`${server.url}/${'0'.repeat(64)}/checkpoint`, { method: 'DELETE' })).status).toBe(405);
});

test('a body that does not come ends with 408, and holds up nobody meanwhile', async () => {
  const { port } = new URL(server.url);
  const socket = connect(Number(port), '127.0.0.1');
  let said = '';
  socket.on('data', (chunk) => {
    said += chunk;
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write('POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nold 0\n');
  expect(await post(body(0, 5))).toMatchObject({ status: 200 });
  await closed;
  expect(said).toContain('408');
}, 30_000);
