import { chmod, chown, mkdir, mkdtemp, realpath, rmdir, stat, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { sha256Hex } from '../../core/bytes.ts';
import type { Log } from '../../core/log.ts';
import { copyBinaries, findPackage, linkBinaries } from './binaries.ts';
import { hasErrorCode, ownAsParent, readLinkIfThere, statIfThere } from './files.ts';
import { chooseSystemUser, type Ids } from './system-user.ts';

/** Where one embedded server keeps its things, and as whom it runs. */
export type Place = {
  /** PostgreSQL's own data directory. */
  data: string;
  /** Ours alone: the lock, the password, the remembered port. */
  control: string;
  /** The notes of the processes that use the server. */
  attached: string;
  /** The folder of the unix socket; undefined when its path is none that a socket may have. */
  socket: string | undefined;
  logFile: string;
  /** The folder with `bin/postgres`. */
  binaries: string;
  /** As whom the server runs; undefined means as ourselves. */
  runAs: Ids | undefined;
};

/** Data of a server that root starts is here, because root's home is closed to the system user. */
const SYSTEM_FOLDER = '/var/lib/millicent';

/** sun_path holds 108 bytes on Linux and 104 on macOS, the end mark included. */
const SOCKET_PATH_MAX = 103;

/** Makes ready what a server needs before it starts; harmless to repeat, also by several at once. */
export async function preparePlace(dataDir: string, log: Log): Promise<Place> {
  const source = await findPackage();
  if (process.getuid?.() !== 0) {
    const base = await claimAsUser(dataDir);
    return makePlace(base, await linkBinaries(source, join(base, 'binaries')), undefined);
  }
  await makeFolder(SYSTEM_FOLDER, 0o711);
  const base = await claimAsRoot(dataDir);
  const binaries = await copyBinaries(source, SYSTEM_FOLDER);
  return makePlace(base, binaries, await chooseIds(base, log));
}

async function claimAsUser(dataDir: string): Promise<string> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const base = await realpath(dataDir);
    if ((await stat(base)).uid === process.getuid?.()) return base;
  } catch (error) {
    if (!hasErrorCode(error, 'EACCES', 'EEXIST', 'ENOENT')) throw error;
  }
  throw new Error(`${dataDir} belongs to another user: start as that user, remove it, or set DATABASE_URL.`);
}

/** The folder that `dataDir` leads to; a new one of the system's when there is nothing yet. */
async function claimAsRoot(dataDir: string): Promise<string> {
  await mkdir(dirname(dataDir), { recursive: true, mode: 0o700 });
  const there = await statIfThere(dataDir);
  if (there?.isDirectory()) {
    // An ordinary user's: the server goes on running as that user.
    if (there.uid !== 0) return realpath(dataDir);
    await rmdir(dataDir).catch((cause: unknown) => {
      throw new Error(`${dataDir} is root's, which PostgreSQL refuses: remove it or set DATABASE_URL.`, {
        cause,
      });
    });
  }
  const target = await linkToSystemFolder(dataDir);
  // A machine that was rebuilt around a kept clone has the link but not the folders.
  if (target.startsWith(`${SYSTEM_FOLDER}/`)) await makeFolder(dirname(target), 0o711);
  await makeFolder(target, 0o711);
  return realpath(target);
}

async function linkToSystemFolder(dataDir: string): Promise<string> {
  const existing = await readLinkIfThere(dataDir);
  if (existing !== undefined) return resolve(dirname(dataDir), existing);
  // The random part keeps a new clone at an old path from waking the old clone's database.
  const folder = await mkdtemp(join(SYSTEM_FOLDER, `${sha256Hex(resolve(dataDir)).slice(0, 16)}-`));
  await chmod(folder, 0o711);
  const target = join(folder, 'pg');
  try {
    await symlink(target, dataDir);
    return target;
  } catch (error) {
    await rmdir(folder);
    // Another starter was quicker.
    const winner = hasErrorCode(error, 'EEXIST') ? await readLinkIfThere(dataDir) : undefined;
    if (winner === undefined) throw error;
    return resolve(dirname(dataDir), winner);
  }
}

/** The owner of the data that is there; else of the folder, when it is not root's; else a system user. */
async function chooseIds(base: string, log: Log): Promise<Ids> {
  for (const path of [join(base, 'data'), base]) {
    const there = await statIfThere(path);
    if (there !== undefined && there.uid !== 0) return { uid: there.uid, gid: there.gid };
  }
  return chooseSystemUser(log);
}

async function makePlace(base: string, binaries: string, runAs: Ids | undefined): Promise<Place> {
  const control = join(base, 'control');
  const attached = join(control, 'attached');
  const socket = join(base, 'socket');
  await makeFolder(control, 0o700);
  await makeFolder(attached, 0o700);
  await makeFolder(socket, 0o711);
  if (runAs !== undefined) await chown(socket, runAs.uid, runAs.gid);
  return {
    data: join(base, 'data'),
    control,
    attached,
    socket: isFitForSocket(socket) ? socket : undefined,
    logFile: join(base, 'postgres.log'),
    binaries,
    runAs,
  };
}

/** PostgreSQL takes a list of folders, split at commas; so does its driver. */
function isFitForSocket(folder: string): boolean {
  return Buffer.byteLength(join(folder, '.s.PGSQL.65535')) <= SOCKET_PATH_MAX && !/[,"]/.test(folder);
}

/** A folder with exactly this mode, whatever the umask; a new one belongs to whom its parent belongs to. */
async function makeFolder(path: string, mode: number): Promise<void> {
  const created = await mkdir(path, { recursive: true, mode });
  await chmod(path, mode);
  if (created !== undefined) await ownAsParent(path);
}
