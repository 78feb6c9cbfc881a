import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const CHILD = join(import.meta.dirname, '../harness/children/dropped-statements.ts');

function run(how: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', CHILD, how], (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    });
  });
}

// With the driver as it is each of these ends the process (porsager/postgres, issues 1192 and 1223).

test.each([
  ['a pooler whose server is away', 'fatal', 'told 08P01'],
  ['a connection that is reset', 'reset', 'told'],
  ['a server that says nothing', 'silent', 'told'],
])('the first statement of a new connection ends no process: %s', async (_name, how, told) => {
  const { code, stdout, stderr } = await run(how);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toContain(told);
});
