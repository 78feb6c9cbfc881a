import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../../core/log.ts';
import type { Cgroups } from './cgroup.ts';
import { openCgroups } from './cgroups.ts';
import { killByCommandLine } from './jail.ts';
import { isOwnerDead, isOwnerId } from './owner.ts';
import { sweepBuilds } from './root-store.ts';
import { prepareWorkDir } from './work-dir.ts';

export type SweepDeps = { workDir: string; cgroups: 'auto' | 'off'; log: Log };

/**
 * Kills and removes what gateways left that are certainly dead: their processes, control groups and files.
 * What belongs to one that lives is not touched, so several may share a machine.
 */
export async function sweepDeadOwners(deps: SweepDeps): Promise<number> {
  if (process.platform !== 'linux') return 0;
  try {
    const cgroups = deps.cgroups === 'off' ? undefined : await openCgroups();
    const { owners, roots, layers } = await prepareWorkDir(deps.workDir);
    const removed = [
      await sweepCgroups(cgroups),
      await sweepFolders(owners),
      await sweepBuilds(roots),
      await sweepBuilds(layers),
    ];
    return removed.reduce((sum, count) => sum + count, 0);
  } catch (error) {
    // A sandbox that is not available has nothing to sweep, and its status says why.
    deps.log.warn({ err: error }, 'the sandbox could not be swept');
    return 0;
  }
}

async function sweepCgroups(cgroups: Cgroups | undefined): Promise<number> {
  const names = (await cgroups?.list()) ?? [];
  // A jail's name begins with its owner's.
  const dead = names.filter((name) => isDead(name.split('.')[0] ?? ''));
  await Promise.all(dead.map((name) => cgroups?.open(name).destroy()));
  return dead.length;
}

/**
 * Files first: a chain that was on its way when its gateway died, and has not even its own command line yet,
 * then finds no code to mount and ends. What came further is known by its command line.
 */
async function sweepFolders(owners: string): Promise<number> {
  const dead = (await readdir(owners)).filter(isDead);
  for (const name of dead) {
    const folder = join(owners, name);
    await rm(folder, { recursive: true, force: true });
    await killByCommandLine(folder);
  }
  return dead.length;
}

function isDead(name: string): boolean {
  return isOwnerId(name) && isOwnerDead(name);
}
