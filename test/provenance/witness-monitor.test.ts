import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { encodeLeaf } from '../../src/provenance/index.ts';
import { encodeCheckpoint } from '../../src/provenance/log/checkpoint.ts';
import { signLine, signNote } from '../../src/provenance/log/note.ts';
import { createNoteSigner, KEY_TYPES } from '../../src/provenance/log/vkey.ts';
import { EMPTY_ROOT } from '../../src/provenance/merkle/merkle.ts';
import { type FollowInput, followLog } from '../../src/provenance/witness/monitor/follow.ts';
import {
  createMemoryLog,
  type MemoryLog,
  newEd25519Pem,
  newLogSigner,
  type Served,
  type ServedLog,
  serveMemoryLog,
} from '../harness/memory-log.ts';
import { createLeaf, entryOf } from './log-fixtures.ts';

const ORIGIN = 'gateway.example';
const signer = newLogSigner(ORIGIN);

let folder: string;
let log: MemoryLog;
let served: ServedLog;
let said: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-monitor-'));
  log = createMemoryLog(signer);
  log.append(...publications(600));
  served = await serveMemoryLog(log);
  said = [];
});
afterEach(async () => {
  await served?.close();
  rmSync(folder, { recursive: true, force: true });
});

function publications(count: number): Buffer[] {
  return Array.from({ length: count }, () => entryOf(createLeaf()).entry);
}

function follow(changes: Partial<FollowInput> = {}) {
  const input: FollowInput = {
    ...{ url: served.url, log: 'versions', statePath: join(folder, 'state'), clock: systemClock },
    ...{ vkey: undefined, acceptKey: undefined, witnesses: { keys: [], needed: 0, waitMs: 0 } },
    say: (text) => said.push(text),
    ...changes,
  };
  return followLog(input, AbortSignal.timeout(50_000));
}

const readState = () => JSON.parse(readFileSync(join(folder, 'state'), 'utf8'));
const alarmed = (kind: string) => ({ kind: 'alarm', alarm: { kind } });

/** The same entries up to `size`, and others after it, under the same key. */
function forkAt(size: number, treeSize: number): MemoryLog {
  const fork = createMemoryLog(signer);
  fork.append(...log.entries.slice(0, size), ...publications(treeSize - size));
  return fork;
}

/** Answers one path with what `change` makes of the true answer. */
function tamper(match: RegExp, change: (body: Buffer) => Served | undefined): void {
  served.answer = (path) => {
    if (!match.test(path)) return undefined;
    const n = Number(/\/([0-9]{3})(?:\.p\/[0-9]+)?$/.exec(path)?.[1]);
    const level = Number(/tile\/([0-9]+)\//.exec(path)?.[1] ?? 0);
    const width = Math.min(256, Math.floor(log.entries.length / 256 ** level) - n * 256);
    return change(path.includes('entries') ? log.entryTile(n, width) : log.tile(level, n, width));
  };
}

function flip(body: Buffer, at: number): Served {
  const changed = Buffer.from(body);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return { body: changed };
}

test.each([1, 255, 256, 257, 511, 512, 600])(
  'a log that grows from %i entries is followed',
  async (treeSize) => {
    const short = createMemoryLog(signer);
    short.append(...log.entries.slice(0, treeSize));
    served.shown = short;
    expect(await follow()).toEqual({ kind: 'sound', treeSize, added: treeSize, audited: 0 });
    expect(await follow()).toMatchObject({ kind: 'sound', treeSize, added: 0 });
    log.append(...publications(100));
    served.shown = log;
    expect(await follow()).toMatchObject({ kind: 'sound', treeSize: 700, added: 700 - treeSize });
    expect(readState()).toMatchObject({ vkey: signer.vkey, trust: 'first-use', checkpoint: log.note() });
  },
);

test('a log that signs its empty tree is followed from there, by no witness, and may not go back to it', async () => {
  const empty = {
    body: signNote(encodeCheckpoint({ origin: ORIGIN, treeSize: 0, root: EMPTY_ROOT }), [signer]),
  };
  const showEmpty = (path: string) => (path.endsWith('/checkpoint') ? empty : undefined);
  served.answer = showEmpty;
  const witnesses = { keys: [newLogSigner('w.example')], needed: 1, waitMs: 0 };
  expect(await follow({ witnesses })).toEqual({ kind: 'sound', treeSize: 0, added: 0, audited: 0 });
  served.answer = () => undefined;
  expect(await follow({ witnesses })).toMatchObject(alarmed('uncosigned'));
  expect(await follow()).toMatchObject({ kind: 'sound', treeSize: 600, added: 600 });
  served.answer = showEmpty;
  expect(await follow({ witnesses })).toMatchObject(alarmed('shrunk'));
});

test('a log without entries is waited for, and its key is trusted from then on', async () => {
  served.shown = createMemoryLog(signer);
  expect(await follow()).toEqual({ kind: 'empty' });
  served.shown = createMemoryLog(newLogSigner(ORIGIN));
  served.shown.append('entry');
  expect(await follow()).toMatchObject(alarmed('changed-key'));
});

describe('a monitor keeps what it trusted, and writes down both checkpoints, when the log', () => {
  beforeEach(async () => {
    await follow();
  });

  test.each([
    ['signs two roots for one size', 'fork', () => forkAt(599, 600)],
    ['shrinks', 'shrunk', () => forkAt(512, 512)],
    ['does not go on from where it was', 'inconsistent', () => forkAt(100, 700)],
    ['changed its last entry', 'inconsistent', () => forkAt(599, 601)],
    ['lost all it had', 'withheld', () => createMemoryLog(signer)],
  ])('%s', async (_, kind, show) => {
    const before = readState();
    served.shown = show();
    const round = await follow();
    expect(round).toMatchObject(alarmed(kind));
    expect(readState()).toEqual(before);
    const evidence = JSON.parse(readFileSync(round.kind === 'alarm' ? round.evidencePath : '', 'utf8'));
    expect(evidence).toMatchObject({ kind, log: 'versions', vkey: signer.vkey, trusted: log.note() });
    expect(evidence.presented).toBe(kind === 'withheld' ? null : served.shown.note());
    // The same again is one file.
    await follow();
    expect(readdirSync(folder).filter((name) => name.includes('evidence'))).toHaveLength(1);
    served.shown = log;
    expect(await follow()).toMatchObject({ kind: 'sound' });
  });

  test.each([
    ['a hash in a full tile', /tile\/0\/000$/, 1],
    ['a hash in the last tile', /tile\/0\/002/, 1],
    ['a hash in a tile above', /tile\/1\/000/, 1],
    ['an old entry', /entries\/000$/, 60],
    ['a new entry', /entries\/002/, 2_000],
  ])('rewrites %s', async (_, match, at) => {
    log.append(...publications(20));
    tamper(match, (body) => flip(body, at));
    expect(await follow()).toMatchObject(alarmed('rewritten'));
    expect(readState().checkpoint).toBe(log.note(600));
    served.answer = undefined;
    expect(await follow()).toMatchObject({ kind: 'sound', added: 20 });
  });

  test('withholds what its checkpoint promises', async () => {
    log.append(...publications(20));
    tamper(/entries\/002/, () => ({ status: 404, body: '' }));
    expect(await follow()).toMatchObject(alarmed('withheld'));
    tamper(/entries\/002/, (body) => ({ body: body.subarray(0, -1) }));
    expect(await follow()).toMatchObject(alarmed('rewritten'));
  });

  test('publishes a version a second time, however long ago the first was', async () => {
    const leaf = createLeaf();
    log.append(encodeLeaf(leaf), ...publications(300));
    expect(await follow()).toMatchObject({ kind: 'sound' });
    log.append(...publications(3), encodeLeaf({ ...leaf, sha256: 'ef'.repeat(32) }));
    const round = await follow();
    expect(round).toMatchObject(alarmed('duplicate'));
    expect(round.kind === 'alarm' && round.alarm.message).toContain(
      `entries 600 and 904 are both "publish ${leaf.tool} 1.0.0"`,
    );
    const evidence = JSON.parse(readFileSync(round.kind === 'alarm' ? round.evidencePath : '', 'utf8'));
    expect(evidence.exhibits).toEqual({
      'entry 600': encodeLeaf(leaf).toString(),
      'entry 904': encodeLeaf({ ...leaf, sha256: 'ef'.repeat(32) }).toString(),
    });
  });

  test('signs with another key, or wrongly', async () => {
    const stranger = newLogSigner(ORIGIN);
    served.answer = (path) => (path === '/log/checkpoint' ? { body: log.note(600, [stranger]) } : undefined);
    expect(await follow()).toMatchObject(alarmed('changed-key'));
    const forged = log.note().replace('\n600\n', '\n601\n');
    served.answer = (path) => (path === '/log/checkpoint' ? { body: forged } : undefined);
    expect(await follow()).toMatchObject(alarmed('bad-signature'));
    served.answer = (path) => (path === '/log/checkpoint' ? { body: '<html>hello</html>' } : undefined);
    expect(await follow()).toMatchObject(alarmed('bad-signature'));
  });
});

test('twice in one batch is seen too, and entries of a kind to come are no alarm', async () => {
  const leaf = createLeaf();
  log.append('mcp-log/v2 something\n', encodeLeaf(leaf));
  expect(await follow()).toMatchObject({ kind: 'sound' });
  expect(said.join()).toContain('1 of the new entries are of a kind that is not known here');
  const next = createLeaf();
  log.append(encodeLeaf(next), encodeLeaf(next));
  expect(await follow()).toMatchObject(alarmed('duplicate'));
});

test('a new key is taken when the operator names it and the old one signs beside it, and never else', async () => {
  await follow();
  const next = newLogSigner(ORIGIN);
  served.answer = (path) =>
    path === '/log/checkpoint' ? { body: log.note(undefined, [next, signer]) } : undefined;
  said = [];
  expect(await follow()).toMatchObject({ kind: 'sound' });
  expect(said.join()).toContain(next.keyId);
  expect(readState().vkey).toBe(signer.vkey);
  expect(await follow({ acceptKey: newLogSigner(ORIGIN).vkey })).toMatchObject(alarmed('bad-signature'));
  expect(await follow({ acceptKey: next.vkey })).toMatchObject({ kind: 'sound' });
  expect(readState()).toMatchObject({ vkey: next.vkey, trust: 'operator' });
  served.answer = (path) => (path === '/log/checkpoint' ? { body: log.note(undefined, [next]) } : undefined);
  expect(await follow({ acceptKey: next.vkey })).toMatchObject({ kind: 'sound' });
  served.answer = undefined;
  expect(await follow()).toMatchObject(alarmed('changed-key'));
  await expect(follow({ vkey: signer.vkey })).rejects.toThrow('--accept-key');
});

test('a key that nobody vouched for is not taken when only it signs', async () => {
  await follow();
  const next = newLogSigner(ORIGIN);
  served.answer = (path) => (path === '/log/checkpoint' ? { body: log.note(undefined, [next]) } : undefined);
  expect(await follow({ acceptKey: next.vkey })).toMatchObject(alarmed('changed-key'));
});

test("the operator's key counts from the first round on", async () => {
  expect(await follow({ vkey: newLogSigner(ORIGIN).vkey })).toMatchObject(alarmed('changed-key'));
  expect(await follow({ vkey: signer.vkey })).toMatchObject({ kind: 'sound' });
  expect(said).toEqual([]);
  expect(readState().trust).toBe('operator');
});

test('a checkpoint counts once enough of the witnesses cosigned it', async () => {
  const [first, second] = ['w1.example', 'w2.example'].map((name) =>
    createNoteSigner({ name, privateKeyPem: newEd25519Pem(), type: KEY_TYPES.cosignature }),
  );
  if (!first || !second) throw new Error('two witnesses are made above');
  const text = log.note().slice(0, log.note().indexOf('\n\n') + 1);
  let asked = 0;
  served.answer = (path) => {
    if (path !== '/log/checkpoint') return undefined;
    asked += 1;
    return { body: asked < 3 ? log.note() : log.note() + signLine(text, first, 1_763_702_345) };
  };
  expect(await follow({ witnesses: { keys: [first, second], needed: 1, waitMs: 5_000 } })).toMatchObject({
    kind: 'sound',
  });
  expect(asked).toBe(3);
  expect(await follow({ witnesses: { keys: [first, second], needed: 2, waitMs: 1_000 } })).toMatchObject(
    alarmed('uncosigned'),
  );
});

test('what an unfinished round left behind is forgotten, and a cut record is refused', async () => {
  await follow();
  const seen = join(folder, 'state.seen');
  expect(statSync(seen).size).toBe(600 * 16);
  writeFileSync(seen, Buffer.alloc(16 * 50, 7), { flag: 'a' });
  log.append(...publications(10));
  expect(await follow()).toMatchObject({ kind: 'sound', added: 10 });
  expect(statSync(seen).size).toBe(610 * 16);
  truncateSync(seen, 16 * 609);
  await expect(follow()).rejects.toThrow('609 leaves, and 610 were followed');
});

test('every old entry is read again in time', async () => {
  log.append(...publications(256 * 20));
  await follow();
  served.asked.length = 0;
  for (let rounds = 0; rounds < 3; rounds += 1) expect(await follow()).toMatchObject({ audited: 8 });
  const bundles = new Set(served.asked.filter((path) => path.includes('entries')));
  expect(bundles.size).toBe(23);
});

test('a monitor that was away for long catches up, and reads each tile once', async () => {
  await follow();
  for (let n = 0; n < 70; n += 1) log.append(...publications(1_000));
  served.asked.length = 0;
  expect(await follow()).toMatchObject({ kind: 'sound', treeSize: 70_600, added: 70_000 });
  const tiles = served.asked.filter((path) => path.includes('/tile/0/'));
  expect(tiles.length).toBeLessThan(300);
});

test('a log of 330 megabytes is followed in a part of that memory', async () => {
  const big = createMemoryLog(signer);
  const entry = Buffer.alloc(40_000, 'an entry of a kind to come ');
  big.append(...Array.from({ length: 8_192 }, () => entry));
  served.shown = big;
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers);
  }, 5);
  expect(await follow()).toMatchObject({ kind: 'sound', added: 8_192 });
  clearInterval(timer);
  expect(most).toBeLessThan(250_000_000);
});
