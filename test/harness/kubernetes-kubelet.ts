import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type WebSocket from 'ws';
import type { Clock } from '../../src/core/clock.ts';
import type { Log } from '../../src/core/log.ts';
import type { Exit } from '../../src/execution/backend.ts';
import { createBubblewrapBackend } from '../../src/execution/backends/bubblewrap/index.ts';
import type { Jail, JailSpec } from '../../src/execution/index.ts';
import { type Faults, statusOf } from './kubernetes.ts';
import type { ApiObject, Store } from './kubernetes-store.ts';

export type Kubelet = Awaited<ReturnType<typeof createKubelet>>;

type Container = {
  jail: Jail;
  log: Buffer;
  /** Whoever is attached to it. */
  socket: WebSocket | undefined;
  wasAttached: boolean;
  hasEnded: boolean;
  isTold: boolean;
};

export type PodSpec = {
  runtimeClassName?: string;
  hostUsers?: boolean;
  volumes: { name: string; emptyDir: { medium: string; sizeLimit: string } }[];
  containers: {
    name: string;
    image: string;
    command: string[];
    stdin?: boolean;
    stdinOnce?: boolean;
    resources: { limits: Record<string, string>; requests: Record<string, string> };
    securityContext: Record<string, unknown>;
  }[];
  securityContext: Record<string, unknown>;
  dnsPolicy?: string;
  dnsConfig?: { nameservers?: string[] };
};

const REPOSITORY = 'registry.test/millicent/roots';
const LOG_BYTES_MAX = 65_536;

/** The one node: starts pods as bubblewrap jails and tells the store how they do. */
export async function createKubelet(input: {
  store: Store;
  faults: Faults;
  workDir: string;
  clock: Clock;
  log: Log;
}) {
  const { store, faults } = input;
  const runtime = createBubblewrapBackend(input);
  const status = await runtime.status();
  if (status.kind === 'unavailable') throw new Error(status.detail);
  const roots = describeRoots(status.capabilities.roots);
  const containers = new Map<string, Container>();
  const nodes = new Set<Promise<unknown>>();

  const write = (name: string, change: (pod: ApiObject) => ApiObject): void => {
    const pod = store.read('pods', name);
    if (pod !== undefined) store.write('pods', change(pod));
  };
  const setStatus = (name: string, given: object) => write(name, (pod) => ({ ...pod, status: given }));
  const run = async (pod: ApiObject): Promise<void> => {
    const { name } = pod.metadata;
    const spec = pod.spec as PodSpec;
    if (faults.stuck === 'unschedulable') {
      const condition = {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message: '0/1 nodes',
      };
      return setStatus(name, { phase: 'Pending', conditions: [condition] });
    }
    setStatus(name, waiting('ContainerCreating'));
    const known = roots.find(({ image }) => image === spec.containers[0]?.image);
    if (faults.stuck === 'image' || known === undefined) return setStatus(name, waiting('ErrImagePull'));
    await sleep(faults.startMs);
    const jail = await runtime.acquire(
      jailSpecOf(spec, known.root.kind, faults),
      new AbortController().signal,
    );
    const container: Container = {
      ...{
        jail,
        log: Buffer.alloc(0),
        socket: undefined,
        wasAttached: false,
        hasEnded: false,
        isTold: false,
      },
    };
    jail.stdin.on('error', () => {});
    const outputs = [pump(container, jail.stdout, 1), pump(container, jail.stderr, 2)];
    // It may have been deleted meanwhile.
    const now = store.read('pods', name);
    if (now === undefined || now.metadata.deletionTimestamp) return jail.kill('done');
    containers.set(name, container);
    setStatus(name, {
      phase: 'Running',
      containerStatuses: [{ name: 'jail', state: { running: { startedAt: 'now' } } }],
    });
    const exit = await jail.exit;
    await Promise.all(outputs);
    endAttachment(container);
    setStatus(name, ended(exit));
    await jail.kill('done');
    containers.delete(name);
  };
  const start = (pod: ApiObject) => {
    const task = run(pod).catch(() => setStatus(pod.metadata.name, waiting('CreateContainerError')));
    nodes.add(task);
    void task.finally(() => nodes.delete(task));
  };
  return {
    repository: REPOSITORY,
    hasForks: status.capabilities.memory === 'cgroup',
    roots: roots.map(({ root }) => root),
    start,
    validate,
    running: () => [...containers.keys()],
    /** Whether somebody is attached to it and has sent it code. */
    isTold: (name: string) => containers.get(name)?.isTold ?? false,
    readLog(name: string, container: string): Buffer | 'waiting' | undefined {
      if (store.read('pods', name) === undefined || container !== 'jail') return undefined;
      return containers.get(name)?.log ?? 'waiting';
    },
    /** What takes a WebSocket, or why nothing can. */
    findAttachable(name: string, query: URLSearchParams): string | ((socket: WebSocket) => void) {
      const container = containers.get(name);
      if (container === undefined) return `container jail not found in pod ${name}_tools`;
      if (query.get('container') !== 'jail') return 'container is not valid for the pod';
      if (query.get('tty') !== 'false') return 'the container has no tty';
      return (socket) => attach(container, socket);
    },
    /** With a grace the pod stays until its processes are gone; without, it is forgotten at once. */
    remove(name: string, grace: number, isNodeGone: boolean): void {
      // Looked for when it is due: the container may be on its way.
      const kill = () => containers.get(name)?.jail.kill('done');
      if (grace === 0) {
        store.remove('pods', name);
        void kill();
        return;
      }
      write(name, (pod) => ({
        ...pod,
        metadata: {
          ...pod.metadata,
          deletionTimestamp: new Date().toISOString(),
          deletionGracePeriodSeconds: grace,
        },
      }));
      if (isNodeGone) return;
      const task = sleep(20)
        .then(async () => {
          await kill();
          await sleep(10);
        })
        .finally(() => store.remove('pods', name));
      nodes.add(task);
      void task.finally(() => nodes.delete(task));
    },
    /** As a node short of memory or disk does it. */
    async evict(name: string): Promise<void> {
      const container = containers.get(name);
      setStatus(name, {
        phase: 'Failed',
        reason: 'Evicted',
        message: 'The node was low on resource: memory.',
      });
      await container?.jail.kill('done');
    },
    async stop(): Promise<void> {
      await Promise.all([...containers.values()].map(({ jail }) => jail.kill('shutdown')));
      await runtime.close();
    },
  };
}

function waiting(reason: string): object {
  return { phase: 'Pending', containerStatuses: [{ name: 'jail', state: { waiting: { reason } } }] };
}

const SIGNALS: Record<string, number> = {
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGTERM: 15,
  SIGXCPU: 24,
  SIGSYS: 31,
};

function ended({ code, signal, isOutOfMemory }: Exit): object {
  const exitCode = code ?? 128 + (SIGNALS[signal ?? ''] ?? 9);
  const reason = isOutOfMemory ? 'OOMKilled' : exitCode === 0 ? 'Completed' : 'Error';
  const terminated = { exitCode, reason, startedAt: 'then', finishedAt: 'now' };
  return {
    phase: exitCode === 0 ? 'Succeeded' : 'Failed',
    containerStatuses: [{ name: 'jail', state: { terminated } }],
  };
}

/** To the log always, and to who is attached; one that takes nothing holds the program back. */
async function pump(container: Container, stream: Readable, channel: number): Promise<void> {
  try {
    for await (const chunk of stream) {
      if (container.log.length < LOG_BYTES_MAX) container.log = Buffer.concat([container.log, chunk]);
      const { socket } = container;
      if (socket === undefined) continue;
      await new Promise<void>((resolve) => {
        if (socket.readyState !== socket.OPEN) return resolve();
        socket.once('close', resolve);
        socket.send(Buffer.concat([Buffer.of(channel), chunk]), () => {
          socket.off('close', resolve);
          resolve();
        });
      });
    }
  } catch {
    // A jail that is killed ends its streams in no order.
  }
}

function attach(container: Container, socket: WebSocket): void {
  const { jail } = container;
  container.socket = socket;
  container.wasAttached = true;
  if (container.hasEnded) {
    endAttachment(container);
    return;
  }
  socket.on('message', (data: Buffer) => {
    const piece = data.subarray(1);
    container.isTold = true;
    if (data[0] === 0 && !jail.stdin.writableEnded) jail.stdin.write(piece);
    if (data[0] === 255 && piece[0] === 0 && socket.protocol === 'v5.channel.k8s.io') jail.stdin.end();
  });
  socket.on('error', () => {});
  // stdinOnce: the first who attached was the last.
  socket.once('close', () => {
    container.socket = undefined;
    jail.stdin.end();
  });
}

function endAttachment(container: Container): void {
  container.hasEnded = true;
  const { socket } = container;
  if (socket === undefined || socket.readyState !== socket.OPEN) return;
  socket.send(Buffer.concat([Buffer.of(3), Buffer.from(JSON.stringify(statusOf(200, '', '', 'Success')))]));
  socket.close(1000);
}

type Root = { kind: 'python' | 'node'; version: string; sha256: string; digest: string };

function describeRoots(roots: Partial<Record<string, { version: string; sha256: string }>>) {
  return (['python', 'node'] as const).flatMap((kind) => {
    const there = roots[kind];
    if (there === undefined) return [];
    const digest = `sha256:${createHash('sha256').update(there.sha256).digest('hex')}`;
    const root: Root & { command: string[]; environment: object; prlimit: string } = {
      ...{ kind, ...there, digest, prlimit: '/usr/bin/prlimit' },
      command: [`/usr/bin/${kind}`, '/usr/lib/millicent/bootstrap'],
      environment: { PYTHONUNBUFFERED: '1' },
    };
    return [{ root, image: `${REPOSITORY}:${kind}-${there.sha256}@${digest}` }];
  });
}

function jailSpecOf(spec: PodSpec, runtime: 'python' | 'node', faults: Faults): JailSpec {
  const container = spec.containers[0];
  const tmp = spec.volumes.find(({ name }) => name === 'tmp')?.emptyDir.sizeLimit;
  const pids = container?.command
    .find((argument) => argument.startsWith('--nproc='))
    ?.slice('--nproc='.length);
  const limits = {
    memoryBytesMax: faults.ignores.includes('memory')
      ? 1024 ** 3
      : Number(container?.resources.limits.memory),
    pidsMax: faults.ignores.includes('pids') ? 128 : Number(pids),
    tmpBytesMax: Number(tmp),
  };
  return { runtime, limits };
}

const POD_FIELDS = new Set([
  ...['activeDeadlineSeconds', 'automountServiceAccountToken', 'containers', 'dnsConfig', 'dnsPolicy'],
  ...['enableServiceLinks', 'hostIPC', 'hostNetwork', 'hostPID', 'hostUsers', 'hostname', 'restartPolicy'],
  ...[
    'runtimeClassName',
    'securityContext',
    'shareProcessNamespace',
    'terminationGracePeriodSeconds',
    'volumes',
  ],
]);

/** What the API server would refuse of what a pod may say. */
function validate(pod: ApiObject): string | undefined {
  const spec = pod.spec as PodSpec;
  const unknown = Object.keys(spec).find((field) => !POD_FIELDS.has(field));
  if (unknown !== undefined) return `spec.${unknown}: unknown field`;
  if (spec.dnsPolicy === 'None' && (spec.dnsConfig?.nameservers ?? []).length === 0)
    return 'spec.dnsConfig.nameservers: must provide at least one DNS nameserver when `dnsPolicy` is None';
  if (spec.securityContext.runAsNonRoot === true && spec.securityContext.runAsUser === 0)
    return 'spec.securityContext';
  for (const { resources, image } of spec.containers) {
    for (const [name, value] of Object.entries(resources.limits)) {
      if (!/^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi)?$/.test(value))
        return `spec.containers[0].resources.limits.${name}`;
      if (resources.requests[name] !== value && name !== 'cpu')
        return `spec.containers[0].resources.requests.${name}`;
    }
    if (!/^[\w./-]+(:[\w.-]{1,128})?(@sha256:[0-9a-f]{64})?$/.test(image)) return 'spec.containers[0].image';
  }
  return undefined;
}
