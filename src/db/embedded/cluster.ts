import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { chown, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { openDatabase } from '../client.ts';
import { hasErrorCode, readIfThere, statIfThere, writePrivately } from './files.ts';
import type { Place } from './place.ts';
import { CHILD_ENVIRONMENT } from './system-user.ts';

/** Only this folder signs in as the superuser; everyone else gets the ordinary role. */
const SUPERUSER = 'postgres';
const NAME = 'millicent';
const INITDB_TIMEOUT_MS = 120_000;

/** cannot_connect_now, and a server that does not listen yet or no longer. */
const NOT_YET = ['57P03', 'ECONNREFUSED', 'ECONNRESET', 'CONNECTION_CLOSED', 'CONNECT_TIMEOUT'];

const run = promisify(execFile);

/**
 * The address for everyone: a role that owns its database and may create others, but is no superuser. By the unix
 * socket in this folder where there is one, which takes less of both sides than loopback does.
 */
export function addressOf(server: { port: number; password: string; socket: string | undefined }): string {
  const address = `postgres://${NAME}:${server.password}@127.0.0.1:${server.port}/${NAME}`;
  return server.socket === undefined ? address : `${address}?host=${encodeURIComponent(server.socket)}`;
}

/** The password of both roles, made on first use and kept where only we can read it. */
export async function readPassword(place: Place): Promise<string> {
  const path = join(place.control, 'password');
  const existing = await readIfThere(path);
  if (existing !== undefined) return existing;
  const password = randomBytes(32).toString('base64url');
  await writePrivately(path, password);
  return password;
}

/** Makes the data directory when there is none: complete, or not at all. */
export async function createClusterOnce(place: Place, password: string): Promise<void> {
  if ((await statIfThere(place.data)) !== undefined) return;
  await sweepDrafts(place);
  // A name of its own: the initdb of a starter that was killed may still be writing to the last one.
  const draft = `${place.data}.${randomUUID()}`;
  const passwordFile = `${draft}.password`;
  await mkdir(draft, { mode: 0o700 });
  await writePrivately(passwordFile, password);
  if (place.runAs !== undefined) {
    await chown(draft, place.runAs.uid, place.runAs.gid);
    await chown(passwordFile, place.runAs.uid, place.runAs.gid);
  }
  await runInitdb(place, draft, passwordFile);
  await rm(passwordFile);
  await rename(draft, place.data);
  const folder = await open(dirname(place.data));
  await folder.sync();
  await folder.close();
}

/** Whether the server answers; the first answer also makes sure of our role and database. */
export async function isReady(port: number, password: string): Promise<boolean> {
  const database = openDatabase({
    url: `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/postgres`,
    poolMax: 1,
    applicationName: 'millicent-start',
  });
  const { sql } = database;
  try {
    const [there] = await sql<{ role: boolean; database: boolean }[]>`
      SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = ${NAME}) AS role,
             EXISTS (SELECT FROM pg_database WHERE datname = ${NAME}) AS database`;
    // Neither statement takes parameters; the password is base64url and cannot end its literal.
    if (!there?.role) await sql.unsafe(`CREATE ROLE ${NAME} LOGIN CREATEDB PASSWORD '${password}'`);
    if (!there?.database) await sql.unsafe(`CREATE DATABASE ${NAME} OWNER ${NAME}`);
    return true;
  } catch (error) {
    if (hasErrorCode(error, ...NOT_YET)) return false;
    throw error;
  } finally {
    await database.close();
  }
}

async function runInitdb(place: Place, data: string, passwordFile: string): Promise<void> {
  const auth = ['--username', SUPERUSER, '--pwfile', passwordFile, '--auth', 'scram-sha-256'];
  // The builtin provider sorts by code point and never changes with the system's libraries.
  const locale = [
    '--encoding',
    'UTF8',
    '--locale',
    'C',
    '--locale-provider',
    'builtin',
    '--builtin-locale',
    'C.UTF-8',
  ];
  try {
    await run(join(place.binaries, 'bin', 'initdb'), ['-D', data, ...auth, ...locale], {
      ...place.runAs,
      cwd: '/',
      env: CHILD_ENVIRONMENT,
      timeout: INITDB_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
  } catch (cause) {
    throw new Error(explainInitdb(cause), { cause });
  }
}

function explainInitdb(error: unknown): string {
  // The file is there, so what is missing is the loader it was linked for, as on Alpine.
  if (hasErrorCode(error, 'ENOENT', 'ENOEXEC')) {
    return `The embedded PostgreSQL does not run on this ${process.platform}-${process.arch}: set DATABASE_URL.`;
  }
  if (hasErrorCode(error, 'EPERM', 'EINVAL')) {
    return 'Root may not start PostgreSQL as another user here: run as an ordinary user or set DATABASE_URL.';
  }
  const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
  return `The embedded PostgreSQL cannot create its data directory (or set DATABASE_URL): ${stderr}`;
}

/** What a starter that was killed in the middle left behind. */
async function sweepDrafts(place: Place): Promise<void> {
  const folder = dirname(place.data);
  for (const name of await readdir(folder)) {
    // What cannot be removed while somebody still writes to it is for the next time.
    if (name.startsWith('data.'))
      await rm(join(folder, name), { recursive: true, force: true }).catch(() => {});
  }
}
