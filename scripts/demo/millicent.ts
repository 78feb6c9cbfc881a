import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const TIMEOUT_MS = 120_000;

/** The `millicent` command as a process of its own; a key goes in by standard input. */
export function runMillicent(args: string[], key?: string): Promise<{ code: number; output: string }> {
  const command = ['--import', 'tsx', join(ROOT, 'src/cli/main.ts'), ...args];
  const child = spawn(process.execPath, command, {
    cwd: ROOT,
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: TIMEOUT_MS,
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stdin.end(key === undefined ? '' : `${key}\n`);
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => done({ code: code ?? 1, output }));
  });
}
