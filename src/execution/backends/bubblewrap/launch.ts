import type { JailSpec } from '../../backend.ts';
import { LIMIT_CEILINGS, OPEN_FILES_MAX } from '../../limits.ts';
import { startCommand } from '../../policy/roots/build-root.ts';
import type { Programs } from './programs.ts';
import type { StoredRoot } from './root-store.ts';

export type LaunchInput = {
  programs: Programs;
  root: StoredRoot;
  limits: JailSpec['limits'];
  /** The layer to show, and where it is on this machine. */
  layer: { sha256: string; folder: string } | undefined;
  egressSocket: string | undefined;
  /** An empty folder of the jail's own; by its path in the command line the jail is found and killed. */
  anchor: string;
  /** Files by which to join control groups; empty where there are none. */
  joinFiles: readonly string[];
  /** The user to become; undefined when we are not root and cannot. */
  uid: number | undefined;
};

/** Where bwrap finds the seccomp filter, and where it reports whether the program was ever started. */
export const SECCOMP_FD = 3;
export const STATUS_FD = 4;

/** What `sh` exits with when a control group could not be joined, or when a descriptor would leak. */
const EXIT_NO_CGROUP = 97;
const EXIT_LEAKED_FD = 98;

/**
 * The whole chain from the gateway to a publisher's code, as arguments of `/bin/sh`. Each link takes something
 * away that the next can no longer get back.
 */
export function launchArguments(input: LaunchInput): string[] {
  return [
    ...['-c', JOIN, 'sh', ...input.joinFiles, '--'],
    ...dropPrivileges(input),
    ...boundResources(input),
    ...enterNamespaces(input),
    ...boundMemory(input),
    ...startCommand(input.root, input.limits),
  ];
}

/**
 * Joins the control groups before anything forks: a pid written from outside would miss the children that
 * bwrap has already made. Then refuses to go on with an inherited descriptor that is not /dev/null.
 */
const JOIN = `
while [ "$1" != -- ]; do echo 0 > "$1" || exit ${EXIT_NO_CGROUP}; shift; done
shift
for file in /proc/self/fd/*; do
  [ "\${file##*/}" -le ${STATUS_FD} ] || ! [ -e "$file" ] || [ "$file" -ef /dev/null ] || exit ${EXIT_LEAKED_FD}
done
exec "$@"`;

/** As root we become the slot's own user first: bwrap would only map root to another name. */
function dropPrivileges({ programs, uid }: LaunchInput): string[] {
  const identity =
    uid === undefined
      ? []
      : ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--bounding-set=-all'];
  return [programs.setpriv, ...identity, '--inh-caps=-all', '--no-new-privs', '--'];
}

/** Limits of each process; what they hold together is the control group's matter. */
function boundResources({ programs, limits }: LaunchInput): string[] {
  return [
    programs.prlimit,
    '--core=0',
    `--nofile=${limits.openFilesMax ?? OPEN_FILES_MAX}`,
    '--sigpending=256',
    '--memlock=65536',
    `--fsize=${Math.max(limits.tmpBytesMax, CODE_BYTES)}`,
    // A second bound on time, in case the gateway is not there to see the first.
    `--cpu=${Math.ceil(LIMIT_CEILINGS.runTimeoutMs / 1000) * 2}`,
    '--',
  ];
}

const NAMESPACES = ['user', 'ipc', 'pid', 'net', 'uts', 'cgroup'];
const NOBODY = '65534';
const SHM_BYTES = 1024 * 1024;
const CODE_BYTES = 64 * 1024 * 1024;

function enterNamespaces({ programs, root, limits, layer, egressSocket, anchor }: LaunchInput): string[] {
  const environment = {
    PATH: '/usr/bin',
    HOME: '/tmp',
    TMPDIR: '/tmp',
    LANG: 'C.UTF-8',
    ...root.environment,
    ...(egressSocket === undefined ? {} : { MILLICENT_EGRESS: EGRESS }),
  };
  return [
    programs.bwrap,
    ...NAMESPACES.map((name) => `--unshare-${name}`),
    ...['--disable-userns', '--uid', NOBODY, '--gid', NOBODY, '--hostname', 'mcp'],
    ...['--new-session', '--die-with-parent', '--cap-drop', 'ALL', '--clearenv'],
    ...['--ro-bind', root.folder, '/'],
    ...['--size', `${limits.tmpBytesMax}`, '--perms', '0700', '--tmpfs', '/tmp'],
    // --dev mounts a writable tmpfs of half the machine's memory: small /dev/shm on top, the rest read-only.
    ...['--dev', '/dev', '--size', `${SHM_BYTES}`, '--perms', '0700', '--tmpfs', '/dev/shm'],
    // Hidden at once by what comes on top. Once a sweep has removed it, a chain still on its way ends here.
    ...['--ro-bind', anchor, '/mcp'],
    // Empty until the bootstrap unpacks the code into it.
    ...['--size', `${CODE_BYTES}`, '--perms', '0700', '--tmpfs', '/mcp'],
    ...showLayer(layer),
    ...showEgress(egressSocket),
    ...['--remount-ro', '/dev', '--chdir', '/tmp'],
    ...Object.entries(environment).flatMap(([name, value]) => ['--setenv', name, value]),
    ...['--seccomp', `${SECCOMP_FD}`, '--json-status-fd', `${STATUS_FD}`, '--'],
  ];
}

const MOUNT_POINTS_BYTES = '4096';
const EGRESS = '/run/egress.sock';

/** The root is read-only, so what is mounted in it needs a small file system to be mounted on. */
function showLayer(layer: LaunchInput['layer']): string[] {
  if (layer === undefined) return [];
  return [
    ...['--size', MOUNT_POINTS_BYTES, '--perms', '0755', '--tmpfs', '/layers'],
    ...['--ro-bind', layer.folder, `/layers/${layer.sha256}`, '--remount-ro', '/layers'],
  ];
}

function showEgress(socket: string | undefined): string[] {
  if (socket === undefined) return [];
  return [
    ...['--size', MOUNT_POINTS_BYTES, '--perms', '0755', '--tmpfs', '/run'],
    ...['--ro-bind', socket, EGRESS, '--remount-ro', '/run'],
  ];
}

/**
 * Without a control group one process may hold only so much, and the seccomp filter sees to it that there is
 * only one. Set inside, where the user namespace counts the jail's threads and nobody else's.
 */
function boundMemory({ joinFiles, root, limits }: LaunchInput): string[] {
  if (joinFiles.length > 0) return [];
  return [root.prlimit, `--as=${limits.memoryBytesMax}`, `--nproc=${limits.pidsMax}`, '--'];
}
