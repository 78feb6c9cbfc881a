import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { waitUntil } from './process.ts';

/** The `millicent` command in a process of its own, as an operator runs it. */
export type Millicent = {
  child: ChildProcess;
  out(): string;
  err(): string;
  /** Its exit code, once it ended. */
  ended: Promise<number | null>;
  /** Waits for this many lines on standard output. */
  lines(count: number): Promise<string[]>;
};

const MAIN = join(import.meta.dirname, '../../src/cli/millicent.mjs');

export function startMillicent(args: readonly string[]): Millicent {
  const child = spawn(MAIN, args);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  child.stdin.end();
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    out: () => out,
    err: () => err,
    ended,
    lines: (count) =>
      waitUntil(() => {
        const lines = out.split('\n').slice(0, -1);
        if (lines.length >= count) return lines;
        if (child.exitCode !== null) throw new Error(err);
        return undefined;
      }),
  };
}

/** Runs it to its end. */
export async function millicent(
  ...args: string[]
): Promise<{ code: number | null; out: string; err: string }> {
  const run = startMillicent(args);
  const code = await run.ended;
  return { code, out: run.out(), err: run.err() };
}
