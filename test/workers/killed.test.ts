import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { publishEcho, readAnswer } from '../e2e/fixtures.ts';
import { createDataFolder, type DataFolder } from '../harness/data-folder.ts';
import { gatewayEnvironment } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { type Answered, isAlive, type Several, send, startSeveral } from './several.ts';

let folder: DataFolder;
let gateway: Several;

/** With the embedded PostgreSQL, as `npm start` has it without further words. */
beforeEach(async () => {
  folder = await createDataFolder();
  const { DATABASE_URL: _, ...env } = gatewayEnvironment({ database: { url: '' } }, folder.dataDir);
  gateway = await startSeveral(env);
}, 180_000);
afterEach(async () => {
  gateway.child.kill('SIGTERM');
  await gateway.exited;
  await folder.remove();
});
