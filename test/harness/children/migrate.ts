/** Migrates a database as a starting gateway does: `migrate.ts <url> <folder>`. */

import { silentLog } from '../../../src/core/log.ts';
import { migrate } from '../../../src/db/index.ts';

const [, , url = '', folder = ''] = process.argv;
const applied: unknown[] = [];
const log = { ...silentLog, info: (fields: object) => applied.push(fields) };
console.log(JSON.stringify('ready'));
process.stdin.once('data', async () => {
  await migrate({ url, folder, log });
  console.log(JSON.stringify(applied.length));
  process.stdin.pause();
});
