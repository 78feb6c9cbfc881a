import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { attach, detach, isAnyoneAttached } from '../../src/db/embedded/attachments.ts';
import { withLock } from '../../src/db/embedded/lock.ts';
import { identifyProcess, isRunning } from '../../src/db/embedded/process-identity.ts';
import { startProcess } from '../harness/process.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millicent-lock-'));
});

afterEach(() => rm(folder, { recursive: true }));

describe('the lock between processes', () => {
  test('four processes that count in one file lose no step, also when holders are killed', async () => {
    await writeFile(join(folder, 'count'), '0');
    const start = (mode: string) => startProcess({ program: 'count-under-lock.ts', args: [folder, mode] });
    const counters = ['count', 'count', 'count', 'count'].map(start);
    const victims = ['die', 'die', 'die'].map(start);
    expect(await Promise.all(victims.map((victim) => victim.nextLine()))).toEqual([
      'locked',
      'locked',
      'locked',
    ]);
    await Promise.all(counters.map((counter) => counter.nextLine()));
    expect(await readFile(join(folder, 'count'), 'utf8')).toBe('160');
    await Promise.all([...counters, ...victims].map((child) => child.kill()));
  });

  test('two callers in one process take turns, and one that throws lets go', async () => {
    const steps: string[] = [];
    const turn = (name: string) =>
      withLock(folder, async () => {
        steps.push(`${name} in`);
        await new Promise((resolve) => setImmediate(resolve));
        steps.push(`${name} out`);
      });
    await expect(withLock(folder, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await Promise.all([turn('a'), turn('b')]);
    expect(steps.map((step) => step.slice(2))).toEqual(['in', 'out', 'in', 'out']);
    expect(new Set(steps).size).toBe(4);
  });
});

describe('the notes of who uses the server', () => {
  test('count for living processes only, and not for another process with the same pid', async () => {
    expect(await isAnyoneAttached(folder)).toBe(false);
    const note = await attach(folder);
    expect(await isAnyoneAttached(folder)).toBe(true);
    await detach(note);

    const earlier = identifyProcess(process.pid)?.replace(/@\d+@/, '@1@') ?? '';
    await symlink(earlier, join(folder, 'earlier'));
    expect(await isAnyoneAttached(folder)).toBe(false);
  });

  test('a killed process is not running', async () => {
    const child = startProcess({ program: 'count-under-lock.ts', args: [folder, 'die'] });
    const identity = identifyProcess(child.pid) ?? '';
    expect(isRunning(identity)).toBe(true);
    await child.nextLine();
    await child.kill();
    expect(isRunning(identity)).toBe(false);
  });
});
