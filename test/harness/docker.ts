import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { findFreePort } from './free-port.ts';
import { waitUntil } from './process.ts';

/** A Docker engine of a test's own, beside whatever engine the machine has. */
export type TestEngine = {
  socketPath: string;
  docker: Docker;
  /** Where it listens with mutual TLS. */
  tlsPort: number;
  certificates: Certificates;
  /** Ends it as a crash would; its containers stay. */
  kill(): Promise<void>;
  /** Starts it again after that. */
  start(): Promise<void>;
  /** Ends it in order and removes everything. */
  stop(): Promise<void>;
  /** What jails have left there: containers, their files, control groups and mounts; leases do not count. */
  findTraces(): Promise<string[]>;
};

/** Paths of PEM files. */
export type Certificates = { ca: string; cert: string; key: string };

/**
 * Why no engine can be started here, in one sentence; undefined when one can. Only what the platform does not give is
 * a reason: an engine that should start and does not is a failure.
 */
export async function explainNoEngine(): Promise<string | undefined> {
  if (process.platform !== 'linux')
    return 'The Docker tests need Linux: the test engine is Debian’s dockerd.';
  if (process.getuid?.() !== 0) return 'The Docker tests need root: dockerd makes mounts and control groups.';
  if (!hasCapability(CAP_SYS_ADMIN))
    return 'The Docker tests need CAP_SYS_ADMIN, which this container lacks.';
  if (await hasProgram()) return undefined;
  return 'The Docker tests need dockerd, and apt-get could not install docker.io.';
}

const CAP_SYS_ADMIN = 21n;
const START_TIMEOUT_MS = 60_000;
const run = promisify(execFile);

function hasCapability(bit: bigint): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${mask}`) & (1n << bit)) !== 0n;
}

const hasProgram = () =>
  run('dockerd', ['--version'], { timeout: 30_000 }).then(
    () => true,
    () => false,
  );

export async function startTestEngine(): Promise<TestEngine> {
  // Short: the paths of unix sockets below it are bounded.
  const folder = await mkdtemp(join(tmpdir(), 'mdk-'));
  const socketPath = join(folder, 's');
  const docker = new Docker({ socketPath, host: undefined });
  const certificates = await makeCertificates(folder);
  const tlsPort = await findFreePort();
  let daemon: ChildProcess | undefined;
  const start = async () => {
    daemon = launch(folder, tlsPort);
    await untilAnswers(docker, daemon, join(folder, 'log'));
  };
  const end = async (signal: NodeJS.Signals) => {
    const ending = daemon;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill(signal);
    await exited;
  };
  await start();
  return {
    ...{ socketPath, docker, tlsPort, certificates, start },
    async kill() {
      await end('SIGKILL');
      // Its containerd dies with it, and where nobody reaps orphans it looks as if it ran: dockerd would wait for it.
      await rm(join(folder, 'x/containerd/containerd.pid'), { force: true });
    },
    async stop() {
      // Only an engine that runs ends the containers that a killed one left.
      if (daemon?.signalCode !== null) await start();
      for (const { Id } of await docker.listContainers({ all: true })) {
        await docker
          .getContainer(Id)
          .remove({ force: true })
          .catch(() => undefined);
      }
      await end('SIGTERM');
      await unmountBelow(folder);
      await rm(folder, { recursive: true, force: true });
    },
    findTraces: () => findLastingTraces(folder, docker),
  };
}

function launch(folder: string, tlsPort: number): ChildProcess {
  const at = (name: string) => join(folder, name);
  const options = [
    ...['--data-root', at('d'), '--exec-root', at('x'), '--pidfile', at('pid')],
    ...['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--ip-masq=false'],
    ...['--host', `unix://${at('s')}`, '--host', `tcp://127.0.0.1:${tlsPort}`],
    ...[
      '--tlsverify',
      '--tlscacert',
      at('ca.pem'),
      '--tlscert',
      at('server.pem'),
      '--tlskey',
      at('server.key'),
    ],
    ...['--log-level', 'warn'],
  ];
  // It ends with us, however we end.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', 'dockerd', ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const chunks: Buffer[] = [];
  child.stderr?.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    if (chunks.length > 200) chunks.shift();
  });
  child.once('exit', () => void writeFile(at('log'), Buffer.concat(chunks)).catch(() => undefined));
  return child;
}

async function untilAnswers(docker: Docker, daemon: ChildProcess, log: string): Promise<void> {
  const isUp = async () => {
    if (daemon.exitCode !== null) {
      const said = await readFile(log, 'utf8').catch(() => '');
      throw new Error(`dockerd ended with ${daemon.exitCode}: ${said.slice(-1000)}`);
    }
    return docker.ping().then(
      () => true,
      () => false,
    );
  };
  await waitUntil(isUp, START_TIMEOUT_MS);
}

/** An authority, a server for 127.0.0.1 and a client, each signed by it. */
async function makeCertificates(folder: string): Promise<Certificates> {
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => run('openssl', args, { timeout: 30_000 });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const authority = ['-subj', '/CN=Millicent test authority', '-keyout', at('ca.key'), '-out', at('ca.pem')];
  await openssl('req', '-x509', ...newKey, ...authority);
  const sign = async (name: string, extensions: string[]) => {
    const names = ['-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`)];
    const signer = ['-CA', at('ca.pem'), '-CAkey', at('ca.key')];
    const added = extensions.flatMap((extension) => ['-addext', extension]);
    await openssl(
      'req',
      '-x509',
      ...newKey,
      ...signer,
      ...names,
      ...added,
      '-addext',
      'basicConstraints=critical,CA:false',
    );
  };
  await sign('server', ['subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth']);
  await sign('client', ['extendedKeyUsage=clientAuth']);
  return { ca: at('ca.pem'), cert: at('client.pem'), key: at('client.key') };
}

async function findLastingTraces(folder: string, docker: Docker): Promise<string[]> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const traces = await findTraces(folder, docker);
    if (traces.length === 0 || Date.now() > deadline) return traces;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

async function findTraces(folder: string, docker: Docker): Promise<string[]> {
  const containers = await docker.listContainers({ all: true });
  const leases = new Set(containers.filter(({ Labels }) => 'millicent.lease' in Labels).map(({ Id }) => Id));
  const jails = containers
    .filter(({ Id }) => !leases.has(Id))
    .map(({ Id, State }) => `container ${Id} ${State}`);
  const folders = await readdir(join(folder, 'd/containers')).catch(() => []);
  const groups = await readdir('/sys/fs/cgroup/memory/docker').catch(() => []);
  const known = new Set(containers.map(({ Id }) => Id));
  const mounts = (await readMounts(folder)).filter((path) => /\/(merged|mqueue|shm)$/.test(path));
  // One mount of each lease's root; what is mounted inside it is in its own namespace.
  const merged = mounts.filter((path) => path.endsWith('/merged'));
  return [
    ...jails,
    ...folders.filter((id) => !leases.has(id)).map((id) => `files of ${id}`),
    ...groups.filter((id) => known.has(id) && !leases.has(id)).map((id) => `control group ${id}`),
    ...merged.slice(leases.size).map((path) => `mount ${path}`),
  ];
}

async function readMounts(folder: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return lines.map((line) => line.split(' ')[4] ?? '').filter((path) => path.startsWith(`${folder}/`));
}

async function unmountBelow(folder: string): Promise<void> {
  for (const path of (await readMounts(folder)).reverse()) {
    await run('umount', ['-l', path], { timeout: 10_000 }).catch(() => undefined);
  }
}
