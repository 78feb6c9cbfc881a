import { spawn } from 'node:child_process';
import { expect } from 'vitest';

/** What a command of the outside world prints, which must exit well; it sees this environment and no other. */
export async function runCommand(
  command: string,
  args: string[],
  environment: Record<string, string>,
): Promise<string> {
  const child = spawn(command, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let [output, complaint] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const code = await new Promise<number | null>((done, reject) => {
    child.once('error', reject);
    child.once('close', done);
  });
  expect(code, `${output}${complaint}`).toBe(0);
  return output;
}
