import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

const ROOT = resolve(import.meta.dirname, '../../..');
/** Beyond what it was asked for: starting, and the last answers. */
const RUN_TIMEOUT_MS = 60_000;

/** What a program prints that runs for about `seconds`; rejects with its complaint when it fails. */
export async function runToEnd([command = '', ...args]: string[], seconds: number): Promise<string> {
  const timeout = seconds * 1_000 + RUN_TIMEOUT_MS;
  const { stdout } = await promisify(execFile)(command, args, { cwd: ROOT, timeout });
  return stdout;
}
