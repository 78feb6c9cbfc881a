import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

const ROOT = resolve(import.meta.dirname, '../../..');
const RUN_TIMEOUT_MS = 60_000;

/** What a program prints until it ends; rejects with its complaint when it fails. */
export async function runToEnd([command = '', ...args]: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd: ROOT, timeout: RUN_TIMEOUT_MS });
  return stdout;
}
