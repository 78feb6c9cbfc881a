import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Log } from '../../core/log.ts';

/** The ids a process runs under. */
export type Ids = { uid: number; gid: number };

/** What every child process gets instead of our own environment, which holds secrets. */
export const CHILD_ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

const NAME = 'millicent';
const FALLBACK_NAMES = ['postgres', 'nobody'];
const ATTEMPTS_MAX = 40;
const RETRY_MS = 100;
const COMMAND_TIMEOUT_MS = 20_000;

const run = promisify(execFile);

/** The system user that PostgreSQL runs as when we are root, because it refuses to run as root itself. */
export async function chooseSystemUser(log: Log): Promise<Ids> {
  const own = await findOrCreate();
  if (own !== undefined) return own;
  for (const name of FALLBACK_NAMES) {
    const ids = await lookUp(name);
    if (ids === undefined) continue;
    log.warn({ user: name }, `the system user ${NAME} cannot be created; PostgreSQL runs as ${name}`);
    return ids;
  }
  throw new Error(
    `PostgreSQL cannot run as root and no system user can be created: run as an ordinary user or set DATABASE_URL.`,
  );
}

async function findOrCreate(): Promise<Ids | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const ids = await lookUp(NAME);
    if (ids !== undefined) return ids;
    if ((await create()) === 'impossible') return undefined;
    // Somebody else holds the password file, or has just created the user.
    await sleep(attempt === 0 ? 0 : RETRY_MS);
  }
  return undefined;
}

async function create(): Promise<'look-again' | 'impossible'> {
  const flags = ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent'];
  try {
    await execute('useradd', [...flags, '--shell', '/usr/sbin/nologin', NAME]);
    return 'look-again';
  } catch (error) {
    // useradd(8): 1 the password file is locked, 9 the name is taken, 10 the group file is locked.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return code === 1 || code === 9 || code === 10 ? 'look-again' : 'impossible';
  }
}

async function lookUp(name: string): Promise<Ids | undefined> {
  try {
    const [uid, gid] = await Promise.all([execute('id', ['-u', name]), execute('id', ['-g', name])]);
    return { uid: Number(uid), gid: Number(gid) };
  } catch {
    // `id` fails for exactly one reason that matters here: there is no such user.
    return undefined;
  }
}

async function execute(command: string, args: string[]): Promise<string> {
  const { stdout } = await run(command, args, { env: CHILD_ENVIRONMENT, timeout: COMMAND_TIMEOUT_MS });
  return stdout.trim();
}
