/**
 * Packages as patches/ changes them. npm's own scripts are switched off here (.npmrc), so it is done by setup and by
 * whatever starts. Plain JavaScript, because setup is.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ADDED_TO = '+++ b/';

/** The files that say what is changed, by their paths below `root`. */
export function listPatches(root) {
  const folder = join(root, 'patches');
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.patch')) : [];
  return names.sort().map((name) => join('patches', name));
}

/** Whether every line that a patch adds is in its file. */
export function arePackagesPatched(root) {
  return listPatches(root).every((patch) => {
    let text = '';
    return readFileSync(join(root, patch), 'utf8')
      .split('\n')
      .every((line) => {
        if (line.startsWith(ADDED_TO)) text = readText(join(root, line.slice(ADDED_TO.length)));
        return line.startsWith(ADDED_TO) || !line.startsWith('+') || text.includes(line.slice(1));
      });
  });
}

/** Changes what is not changed yet; false when it cannot. */
export function patchPackages(root) {
  if (arePackagesPatched(root)) return true;
  const program = join(root, 'node_modules', 'patch-package', 'index.js');
  spawnSync(process.execPath, [program, '--error-on-fail'], { cwd: root, stdio: 'ignore' });
  return arePackagesPatched(root);
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
