import type { Stats } from 'node:fs';
import { chmod, lstat, mkdir, realpath, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ownOwnerId } from './owner.ts';

/** Everything that the sandbox keeps on disk. */
export type WorkDir = {
  /** Root file systems, shared by all gateways and never changed once they are there. */
  roots: string;
  /** Layers of dependencies by their hash, shared alike. */
  layers: string;
  /** One folder per living gateway, named by its owner id. */
  owners: string;
};

const OWNERS = 'owners';
const GROUP_MAY_WRITE = 0o020;
const OTHERS_MAY_WRITE = 0o002;
const OTHERS_MAY_SEARCH = 0o001;
const STICKY = 0o1000;

/**
 * Makes the folder and its parts. Throws an Error, in words for the operator, when another user could change
 * what jails run, or when the users that jails run as could not reach it.
 */
export async function prepareWorkDir(path: string): Promise<WorkDir> {
  await mkdir(path, { recursive: true, mode: 0o711 });
  await refuseUnsafeFolder(path);
  const resolved = await realpath(path);
  await refuseUnsafeAncestors(resolved);
  const workDir = {
    roots: join(resolved, 'roots'),
    layers: join(resolved, 'layers'),
    owners: join(resolved, OWNERS),
  };
  for (const folder of [resolved, ...Object.values(workDir)]) {
    await mkdir(folder, { recursive: true });
    // Whatever the umask is: jails must get through, and nobody may list.
    await chmod(folder, 0o711);
  }
  return workDir;
}

/** The folder of one backend of this process; made when it is not there. */
export async function enterFolder({ owners }: WorkDir, backendId: string): Promise<string> {
  const owner = join(owners, ownOwnerId());
  const folder = join(owner, backendId);
  await mkdir(folder, { recursive: true });
  for (const path of [owner, folder]) await chmod(path, 0o711);
  return folder;
}

/** Removes it, and the process's folder with the last one in it. */
export async function leaveFolder(workDir: string, backendId: string): Promise<void> {
  const owner = join(workDir, OWNERS, ownOwnerId());
  await rm(join(owner, backendId), { recursive: true, force: true });
  // Refused while another backend of this process is in there.
  await rmdir(owner).catch(() => {});
}

/** Where the sandbox keeps its things when nobody says otherwise. */
export function defaultWorkDir(dataDir: string): string {
  // Root's jails run as other users, who cannot see into a home of mode 0700.
  return process.getuid?.() === 0 ? '/var/lib/millicent/sandbox' : join(dataDir, 'sandbox');
}

async function refuseUnsafeFolder(path: string): Promise<void> {
  const there = await lstat(path);
  if (!there.isDirectory()) throw new Error(`The sandbox folder ${path} is not a folder.`);
  if (there.uid !== process.getuid?.())
    throw new Error(`The sandbox folder ${path} belongs to another user.`);
  if ((there.mode & (GROUP_MAY_WRITE | OTHERS_MAY_WRITE)) !== 0) {
    throw new Error(`The sandbox folder ${path} can be written by other users.`);
  }
}

/** Whoever may rename a folder above ours can put another in its place. */
async function refuseUnsafeAncestors(path: string): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const there = await lstat(folder);
    if (!isOurs(there) || canBeRearranged(there)) {
      throw new Error(`The sandbox folder ${path} is inside ${folder}, which other users can change.`);
    }
    if (isRoot && (there.mode & OTHERS_MAY_SEARCH) === 0) {
      throw new Error(`The sandbox folder ${path} is inside ${folder}, which other users cannot enter.`);
    }
    if (folder === dirname(folder)) return;
  }
}

function isOurs({ uid }: Stats): boolean {
  return uid === 0 || uid === process.getuid?.();
}

function canBeRearranged({ mode, gid }: Stats): boolean {
  if ((mode & STICKY) !== 0) return false;
  // With a umask of 002 a user's folders are writable by a group that is the user's alone.
  const isOwnGroup = gid === 0 || gid === process.getgid?.();
  return (mode & OTHERS_MAY_WRITE) !== 0 || ((mode & GROUP_MAY_WRITE) !== 0 && !isOwnGroup);
}
