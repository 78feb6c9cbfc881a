/**
 * Tests the contracts with forge: `node --import tsx scripts/forge/main.ts [forge test's own options]`. Without
 * options it also writes the gas figures anew, into `contracts/snapshots`.
 */

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findForge, runForge } from './forge.ts';

const SNAPSHOTS = fileURLToPath(new URL('../../contracts/snapshots', import.meta.url));
const TIMEOUT_MS = 600_000;

const forge = findForge();
if (forge === undefined) throw new Error('npm has no forge for this platform: install Foundry.');
const options = process.argv.slice(2);
const { code, output, errors } = await runForge(forge, {
  args: ['test', ...options],
  timeoutMs: TIMEOUT_MS,
  ...(options.length === 0 ? { snapshotFolder: SNAPSHOTS } : {}),
});
process.stdout.write(output);
process.stderr.write(errors);
process.exitCode = code ?? 1;

// Forge leaves out the end of the last line.
if (options.length === 0) {
  for (const name of await readdir(SNAPSHOTS)) {
    const text = await readFile(join(SNAPSHOTS, name), 'utf8');
    await writeFile(join(SNAPSHOTS, name), `${text.trimEnd()}\n`);
  }
}
