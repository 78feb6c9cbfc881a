import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  createMemoryLog,
  type MemoryLog,
  newLogSigner,
  type ServedLog,
  serveMemoryLog,
} from '../harness/memory-log.ts';
import { millicent, startMillicent } from '../harness/millicent.ts';
import { waitUntil } from '../harness/process.ts';
import { createLeaf, entryOf } from '../provenance/log-fixtures.ts';

const signer = newLogSigner('gateway.example');

let folder: string;
let log: MemoryLog;
let served: ServedLog;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-monitor-'));
  log = createMemoryLog(signer);
  log.append(...publications(300));
  served = await serveMemoryLog(log);
});
afterEach(async () => {
  await served?.close();
  rmSync(folder, { recursive: true, force: true });
});

function publications(count: number): Buffer[] {
  return Array.from({ length: count }, () => entryOf(createLeaf()).entry);
}

const statePath = () => join(folder, 'state.json');
const look = (...more: string[]) =>
  millicent('monitor', served.url, '--state', statePath(), '--once', ...more);

test('a monitor trusts the first key it sees, says so, and tells with its exit code when the log forks', async () => {
  const first = await look();
  expect(first).toMatchObject({ code: 0, out: expect.stringContaining('300 entries, 300 of them new') });
  expect(first.err).toContain('Trust on first use');
  expect(first.err).toContain(signer.vkey);
  log.append(...publications(5));
  expect(await look()).toMatchObject({ code: 0, err: '', out: expect.stringContaining('5 of them new') });
  const before = readFileSync(statePath(), 'utf8');
  const fork = createMemoryLog(signer);
  fork.append(...log.entries.slice(0, 100), ...publications(300));
  served.shown = fork;
  const alarm = await look();
  expect(alarm).toMatchObject({ code: 1, out: '', err: expect.stringContaining('ALARM (inconsistent)') });
  const path = alarm.err.match(/Evidence: (.*)\n/)?.[1] ?? '';
  expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({
    ...{ format: 'mcp-monitor-evidence/v1', kind: 'inconsistent', url: served.url, vkey: signer.vkey },
    ...{ trusted: log.note(), presented: fork.note() },
  });
  expect(readFileSync(statePath(), 'utf8')).toBe(before);
  // The true history is still followed.
  served.shown = log;
  expect(await look()).toMatchObject({ code: 0 });
});

test('a monitor that runs on looks again and again, waits for a log that is away, and ends at an alarm', async () => {
  const run = startMillicent([
    'monitor',
    served.url,
    '--state',
    statePath(),
    '--every',
    '1',
    '--vkey',
    signer.vkey,
  ]);
  await run.lines(1);
  served.answer = () => ({ status: 401, body: 'away' });
  await waitUntil(() => run.err().includes('answered 401'));
  served.answer = undefined;
  log.append(...publications(1));
  await waitUntil(() => run.out().includes('301 entries, 1 of them new'));
  const shorter = createMemoryLog(signer);
  shorter.append(...log.entries.slice(0, 200));
  served.shown = shorter;
  expect(await run.ended).toBe(1);
  expect(run.err()).toContain('ALARM (shrunk)');
  expect(readdirSync(folder).filter((name) => name.includes('evidence-shrunk'))).toHaveLength(1);
});

test('a monitor stops in order when it is told to', async () => {
  const run = startMillicent(['monitor', served.url, '--state', statePath()]);
  await run.lines(1);
  run.child.kill('SIGTERM');
  expect(await run.ended).toBe(0);
});

test('misuse, a damaged state and a log that is not there are no alarms', async () => {
  expect(await millicent('monitor', served.url, '--once')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--state'),
  });
  expect(await look('--log', 'other')).toMatchObject({ code: 2 });
  expect(await look('--witnesses', '1')).toMatchObject({ code: 2 });
  writeFileSync(statePath(), '{"format":"mcp-monitor-state/v1"');
  expect(await look()).toMatchObject({ code: 2, err: expect.stringContaining('damaged') });
  rmSync(statePath());
  served.answer = () => ({ status: 403, body: 'no' });
  expect(await look()).toMatchObject({ code: 2, err: expect.stringContaining('answered 403') });
  expect(existsSync(statePath())).toBe(false);
});
