import type { ContainerCreateOptions, MountSettings } from 'dockerode';
import type { JailSpec } from '../../backend.ts';
import { LIMIT_CEILINGS, OPEN_FILES_MAX } from '../../limits.ts';
import { startCommand } from '../../policy/roots/build-root.ts';
import type { RootImage } from './images.ts';

/** Debian's runc, or gVisor. */
export type Runtime = 'runc' | 'runsc';

export type ContainerInput = {
  labels: Readonly<Record<string, string>>;
  image: RootImage;
  spec: JailSpec;
  runtime: Runtime;
  /** The JSON profile. */
  seccomp: string;
  /** The volume of the layer, when there is one. */
  layerVolume: string | undefined;
};

const MIB = 1024 * 1024;
const NOBODY = 65534;
const CODE_BYTES = 64 * MIB;
const SHM_BYTES = MIB;
const INODES = 10_000;
const NANO_CPUS = 1e9;
/** gVisor's own threads count against the limit, and it needs some hundreds of them. */
const RUNSC_PIDS_MIN = 400;
const EGRESS = '/run/egress.sock';

/** Where a layer is mounted; the bootstrap puts what is in it where its runtime looks. */
export function layerPath(sha256: string): string {
  return `/layers/${sha256}`;
}

/**
 * A jail as the engine is asked for it: no network, no capability, nothing writable but three small file systems in
 * memory, which count as the jail's memory.
 */
export function containerOptions(input: ContainerInput): ContainerCreateOptions {
  const { labels, image, spec } = input;
  const [program = '', ...rest] = startCommand(image, spec.limits);
  return {
    Image: image.id,
    Labels: { ...labels },
    Entrypoint: [program],
    Cmd: rest,
    Env: spellEnvironment(input),
    User: `${NOBODY}:${NOBODY}`,
    WorkingDir: '/tmp',
    Hostname: 'mcp',
    Tty: false,
    ...{ AttachStdin: true, AttachStdout: true, AttachStderr: true, OpenStdin: true },
    // When the gateway is gone stdin ends, and a jail that waits for code ends by itself.
    StdinOnce: true,
    HostConfig: {
      ...isolation(input),
      ...resources(input),
      Tmpfs: {
        '/tmp': spellTmpfs(spec.limits.tmpBytesMax, 'noexec'),
        // A static binary is started from here.
        '/mcp': spellTmpfs(CODE_BYTES, 'exec'),
      },
      Mounts: spellMounts(input),
    },
  };
}

function isolation({ runtime, seccomp }: ContainerInput): NonNullable<ContainerCreateOptions['HostConfig']> {
  return {
    Runtime: runtime,
    NetworkMode: 'none',
    // The machine's own resolver and search domains would stand in /etc/resolv.conf.
    ...{ Dns: ['127.0.0.1'], DnsSearch: ['.'], DnsOptions: [] },
    ReadonlyRootfs: true,
    CapDrop: ['ALL'],
    SecurityOpt: ['no-new-privileges', `seccomp=${seccomp}`],
    Privileged: false,
    IpcMode: 'private',
    ShmSize: SHM_BYTES,
    LogConfig: { Type: 'none', Config: {} },
    RestartPolicy: { Name: 'no' },
    // Reaps what a tool's dead children leave.
    Init: true,
  };
}

function resources({ spec, runtime }: ContainerInput): NonNullable<ContainerCreateOptions['HostConfig']> {
  const { memoryBytesMax, pidsMax, tmpBytesMax, openFilesMax = OPEN_FILES_MAX } = spec.limits;
  // Init is one more process in the group, and not the tool's.
  const pids = pidsMax + 1;
  const cpuSeconds = Math.ceil(LIMIT_CEILINGS.runTimeoutMs / 1000) * 2;
  const limit = (Name: string, value: number) => ({ Name, Soft: value, Hard: value });
  return {
    ...{ Memory: memoryBytesMax, MemorySwap: memoryBytesMax },
    PidsLimit: runtime === 'runsc' ? Math.max(pids, RUNSC_PIDS_MIN) : pids,
    NanoCpus: NANO_CPUS,
    // The first to go when the machine itself runs out.
    OomScoreAdj: 500,
    Ulimits: [
      limit('nofile', openFilesMax),
      limit('core', 0),
      limit('fsize', Math.max(tmpBytesMax, CODE_BYTES)),
      limit('sigpending', 256),
      limit('memlock', 65_536),
      // A second bound on time, in case the gateway is not there to see the first.
      limit('cpu', cpuSeconds),
    ],
  };
}

function spellTmpfs(bytes: number, exec: 'exec' | 'noexec'): string {
  return [
    ...['rw', exec, 'nosuid', 'nodev', `size=${bytes}`, `nr_inodes=${INODES}`],
    ...['mode=0700', `uid=${NOBODY}`, `gid=${NOBODY}`],
  ].join(',');
}

function spellMounts({ spec, layerVolume }: ContainerInput): MountSettings[] {
  const layer =
    layerVolume === undefined || spec.layer === undefined
      ? []
      : [mount('volume', layerVolume, layerPath(spec.layer.sha256))];
  const egress = spec.egressSocket === undefined ? [] : [mount('bind', spec.egressSocket, EGRESS)];
  return [...layer, ...egress];
}

function mount(type: 'bind' | 'volume', source: string, target: string): MountSettings {
  return { Type: type, Source: source, Target: target, ReadOnly: true };
}

function spellEnvironment({ image, spec }: ContainerInput): string[] {
  const environment = {
    ...{ PATH: '/usr/bin', HOME: '/tmp', TMPDIR: '/tmp', LANG: 'C.UTF-8' },
    ...image.environment,
    ...(spec.egressSocket === undefined ? {} : { MILLICENT_EGRESS: EGRESS }),
  };
  return Object.entries(environment).map(([name, value]) => `${name}=${value}`);
}
