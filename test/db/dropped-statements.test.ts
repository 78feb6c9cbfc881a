import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const CHILD = join(import.meta.dirname, '../harness/children/dropped-statements.ts');

function run(...given: string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', CHILD, ...given], (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    });
  });
}

test.each([
  ['a pooler whose server is away', 'fatal', 'told 08P01'],
  ['a connection that is reset', 'reset', 'told'],
  ['a server that says nothing', 'silent', 'told'],
])('the first statement of a new connection ends no process: %s', async (_name, how, told) => {
  const { code, stdout, stderr } = await run(how, 'outlive');
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toContain(told);
});

test('the driver would end the process there', async () => {
  const { code, stderr } = await run('fatal');
  expect(code).toBe(1);
  expect(stderr).toContain('08P01');
});
