/** Adds one to the number in a file, many times, reading and writing it under the lock. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../../../src/db/embedded/lock.ts';

const [, , folder = '', mode = ''] = process.argv;
const file = join(folder, 'count');

if (mode === 'die') {
  await withLock(folder, async () => {
    console.log(JSON.stringify('locked'));
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => {});
  });
}
for (let i = 0; i < 40; i += 1) {
  await withLock(folder, async () => {
    const count = Number(await readFile(file, 'utf8'));
    await writeFile(file, String(count + 1));
  });
}
console.log(JSON.stringify('done'));
