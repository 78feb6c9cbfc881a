import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sha256Hex } from '../../src/core/bytes.ts';
import { verifyNote } from '../../src/provenance/log/note.ts';
import { parseVkey } from '../../src/provenance/log/vkey.ts';
import { encodeAddCheckpoint } from '../../src/provenance/witness/add-checkpoint.ts';
import { createMemoryLog, type MemoryLog, newLogSigner } from '../harness/memory-log.ts';
import { type Millicent, millicent, startMillicent } from '../harness/millicent.ts';
import { startProcess, waitUntil } from '../harness/process.ts';

const ORIGIN = 'log.example/versions';
const NAME = 'witness.example/w1';
const logSigner = newLogSigner(ORIGIN);

type Started = Millicent & { vkey: string; url: string };

let folder: string;
let log: MemoryLog;
let running: Started[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-witness-'));
  log = createMemoryLog(logSigner);
  log.append(...Array.from({ length: 60 }, (_, at) => `entry ${at}`));
  running = [];
});
afterEach(async () => {
  for (const { child, ended } of running) {
    child.kill('SIGKILL');
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

const keyPath = () => join(folder, 'key.pem');
const statePath = () => join(folder, 'state');
const filePath = () => join(statePath(), sha256Hex(ORIGIN));

function args(...more: string[]): string[] {
  return [
    ...['witness', '--listen', '127.0.0.1:0', '--name', NAME, '--key', keyPath()],
    ...['--state', statePath(), '--log', logSigner.vkey, ...more],
  ];
}

async function start(): Promise<Started> {
  const run = startMillicent(args());
  const [vkey = '', url = ''] = await run.lines(2);
  const started = { ...run, vkey, url };
  running.push(started);
  return started;
}

async function submit(url: string, oldSize: number, treeSize: number, from = log) {
  const body = encodeAddCheckpoint({
    oldSize,
    proof: from.proof(oldSize, treeSize),
    checkpoint: from.note(treeSize),
  });
  const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body });
  return { status: response.status, body: await response.text() };
}

function createFork(): MemoryLog {
  const fork = createMemoryLog(logSigner);
  fork.append('another beginning', ...log.entries.slice(1));
  return fork;
}

test('a witness says its key, cosigns, stops in order, and goes on where it was under the same key', async () => {
  const first = await start();
  expect(parseVkey(first.vkey)).toMatchObject({ name: NAME, type: 4 });
  const answer = await submit(first.url, 0, 5);
  expect(answer.status).toBe(200);
  expect(verifyNote(`${log.note(5)}${answer.body}`, [parseVkey(first.vkey)]).signatures).toHaveLength(1);
  first.child.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  const second = await start();
  expect(second.vkey).toBe(first.vkey);
  expect(await submit(second.url, 0, 7)).toEqual({ status: 409, body: '5\n' });
  expect(await submit(second.url, 5, 7)).toMatchObject({ status: 200 });
  expect(first.err() + second.err()).toBe('');
});

test('a second history is refused before and after a restart, and the operator is told with both checkpoints', async () => {
  const fork = createFork();
  const first = await start();
  await submit(first.url, 0, 5);
  expect(await submit(first.url, 5, 5, fork)).toMatchObject({ status: 422 });
  expect(await submit(first.url, 5, 9, fork)).toMatchObject({ status: 422 });
  await waitUntil(() => first.err().includes(fork.root(5).toString('base64')));
  expect(first.err()).toContain(log.root(5).toString('base64'));
  first.child.kill('SIGKILL');
  await first.ended;
  const second = await start();
  expect(await submit(second.url, 5, 9, fork)).toMatchObject({ status: 422 });
  expect(await submit(second.url, 0, 9, fork)).toMatchObject({ status: 409 });
  expect(await submit(second.url, 5, 9)).toMatchObject({ status: 200 });
});

test('20 submissions at once, to two processes on one folder, never roll the log back', async () => {
  const [first, second] = [await start(), await start()];
  await submit(first.url, 0, 1);
  const climb = async (url: string, treeSize: number): Promise<void> => {
    for (let oldSize = 1; oldSize <= treeSize; ) {
      const answer = await submit(url, oldSize, treeSize);
      if (answer.status === 200) return;
      expect(answer.status).toBe(409);
      const size = Number(answer.body);
      expect(size).toBeGreaterThanOrEqual(oldSize);
      oldSize = size;
    }
  };
  await Promise.all(
    Array.from({ length: 20 }, (_, at) => climb((at % 2 === 0 ? first : second).url, at * 3 + 2)),
  );
  expect(readFileSync(filePath(), 'utf8')).toContain(`${ORIGIN}\n59\n`);
  expect(await submit(first.url, 59, 60)).toMatchObject({ status: 200 });
  expect(await submit(second.url, 59, 60)).toEqual({ status: 409, body: '60\n' });
});

test.each([
  ['before it keeps', 'before', 'asked', 5],
  ['between keeping and answering', 'after', 'kept', 8],
])('killed %s, a witness comes back with what it kept, and no fork gets in', async (_, mode, said, size) => {
  const first = await start();
  await submit(first.url, 0, 5);
  first.child.kill('SIGTERM');
  await first.ended;
  const child = startProcess({
    program: 'halting-witness.ts',
    args: [statePath(), keyPath(), NAME, logSigner.vkey, mode],
  });
  const url = String(await child.nextLine());
  const unanswered = submit(url, 5, 8).catch(() => 'no answer');
  expect(await child.nextLine()).toBe(said);
  await child.kill();
  expect(await unanswered).toBe('no answer');
  const second = await start();
  expect(await submit(second.url, size, size, createFork())).toMatchObject({ status: 422 });
  if (size === 8) expect(await submit(second.url, 5, 8)).toEqual({ status: 409, body: '8\n' });
  expect(await submit(second.url, size, 8)).toMatchObject({ status: 200 });
});

test('killed at any moment, it has never said more than it remembers', async () => {
  let said = 0;
  for (let round = 0; round < 4; round += 1) {
    const one = await start();
    const remembered = Number((await submit(one.url, 60, 60)).body);
    expect(remembered).toBeGreaterThanOrEqual(said);
    const work = (async () => {
      for (let size = remembered; size < 59; size += 1) {
        const answer = await submit(one.url, size, size + 1).catch(() => undefined);
        if (answer?.status !== 200) return;
        said = size + 1;
      }
    })();
    await sleep(5 + round * 11);
    one.child.kill('SIGKILL');
    await Promise.all([one.ended, work]);
  }
});

test('a damaged state, the state of another witness and a key without its state stop it with a reason', async () => {
  const one = await start();
  await submit(one.url, 0, 5);
  one.child.kill('SIGTERM');
  await one.ended;
  const good = readFileSync(filePath(), 'utf8');
  writeFileSync(filePath(), good.slice(0, 50));
  expect(await millicent(...args())).toMatchObject({
    code: 2,
    err: expect.stringContaining('not what this witness'),
  });
  writeFileSync(filePath(), good);
  const other = args().map((word) => (word === keyPath() ? join(folder, 'other.pem') : word));
  expect(await millicent(...other)).toMatchObject({
    code: 2,
    err: expect.stringContaining('another witness'),
  });
  const lost = args().map((word) => (word === statePath() ? join(folder, 'lost') : word));
  expect(await millicent(...lost)).toMatchObject({
    code: 2,
    err: expect.stringContaining('could cosign a fork'),
  });
  expect(readdirSync(join(folder, 'lost'))).toEqual([]);
});

test('what is missing or misspelled is told in one line', async () => {
  expect(await millicent('witness')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--name is missing'),
  });
  expect(await millicent(...args('--log', 'nonsense'))).toMatchObject({
    code: 2,
    err: expect.stringContaining('verifier key'),
  });
  const listen = args().map((word) => (word === '127.0.0.1:0' ? 'nowhere' : word));
  expect(await millicent(...listen)).toMatchObject({ code: 2, err: expect.stringContaining('--listen') });
});
