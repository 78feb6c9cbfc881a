/**
 * A Kubernetes API server of ours with one node, to the letter for what the backend uses: pods with their states, watch,
 * log and attach over WebSocket (v5.channel.k8s.io, v4), leases and network policies. Its pods really run: each is a
 * bubblewrap jail with the limits of its pod. It stands in for a cluster, which no test can have.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocketServer } from 'ws';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import type { KubernetesBackendDeps } from '../../src/execution/backends/kubernetes/index.ts';
import { createKubelet, type Kubelet } from './kubernetes-kubelet.ts';
import { type ApiObject, createStore, type Store } from './kubernetes-store.ts';
import { TEST_TLS } from './tls.ts';

/** What can be wrong with it. */
export type Faults = {
  /** Nobody answers: connections are cut. */
  isDown: boolean;
  delayMs: number;
  /** Such requests are served, and the connection is cut before the answer. */
  losesAnswerTo?: string | undefined;
  /** Looks at each request, such as `POST pods`; what it answers is answered. */
  refuse?:
    | ((what: string) => { code: number; reason: string; message?: string; retryAfter?: number } | undefined)
    | undefined;
  /** Subprotocols that are spoken. */
  protocols: string[];
  /** How pods end up instead of running. */
  stuck?: 'unschedulable' | 'image' | undefined;
  /** Nodes that do not keep to these limits. */
  ignores: ('memory' | 'pids')[];
  /** How long a pod needs until it runs, and how long its attaching takes. */
  startMs: number;
  attachMs: number;
  /** Fields of a pod that the server leaves out without a word. */
  drops: string[];
  /** Nodes that never confirm the end of a pod. */
  isNodeGone: boolean;
};

export type TestCluster = {
  faults: Faults;
  store: Store;
  kubelet: Kubelet;
  /** All that the backend is made with. */
  deps: Omit<KubernetesBackendDeps, 'clock' | 'log'>;
  /** Requests that were answered, such as `POST pods`. */
  requests: string[];
  pods(): ApiObject[];
  cutWatches(): void;
  cutAttachments(): void;
  forgetHistory(): void;
  /** What is left: pods, leases, processes of pods. Waits a while for nothing. */
  findTraces(): Promise<string[]>;
  stop(): Promise<void>;
};

const TOKEN = 'the-token-of-the-test';
const NAMESPACE = 'tools';

export async function startTestCluster(workDir: string): Promise<TestCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'millicent-k8s-'));
  const faults: Faults = {
    ...{ isDown: false, delayMs: 0, protocols: ['v5.channel.k8s.io', 'v4.channel.k8s.io'] },
    ...{ ignores: [], drops: [], startMs: 0, attachMs: 0, isNodeGone: false },
  };
  const store = createStore();
  const kubelet = await createKubelet({ store, faults, workDir, clock: systemClock, log: silentLog });
  const requests: string[] = [];
  const sockets = new Set<Duplex>();
  const attachments = new Set<Duplex>();
  const websockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => faults.protocols.find((protocol) => offered.has(protocol)) ?? false,
  });
  const server = createServer({ cert: TEST_TLS.cert, key: TEST_TLS.key });
  server.on('secureConnection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    if (faults.isDown) socket.destroy();
  });
  server.on('request', (asked, answer) => {
    const plural = PATH.exec((asked.url ?? '').split('?')[0] ?? '')?.[1];
    if (faults.losesAnswerTo === `${asked.method} ${plural}`) answer.writeHead = () => answer.destroy();
    serve({ faults, store, kubelet, requests }, asked, answer).catch((error: unknown) => {
      if (error instanceof Refusal) answerStatus(answer, error);
      else answerStatus(answer, new Refusal(500, 'InternalError', String(error)));
    });
  });
  server.on('upgrade', (asked, socket, head) => {
    const task = async () => {
      await faultsOf({ faults, requests }, asked, 'attach');
      authorize(asked);
      const url = new URL(asked.url ?? '', 'https://localhost');
      const name = /\/pods\/([^/]+)\/attach$/.exec(url.pathname)?.[1] ?? '';
      await sleep(faults.attachMs);
      const attachable = kubelet.findAttachable(name, url.searchParams);
      if (typeof attachable === 'string') throw new Refusal(400, 'BadRequest', attachable);
      websockets.handleUpgrade(asked, socket, head, (connected) => {
        attachments.add(socket);
        socket.once('close', () => attachments.delete(socket));
        attachable(connected);
      });
    };
    task().catch((error: unknown) => {
      const { code, reason, message } =
        error instanceof Refusal ? error : new Refusal(500, 'InternalError', String(error));
      const body = JSON.stringify(statusOf(code, reason, message));
      socket.end(
        `HTTP/1.1 ${code} ${reason}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as AddressInfo;
  const kubeconfigPath = join(folder, 'config');
  await writeFile(kubeconfigPath, spellKubeconfig(port));
  const rootsPath = join(folder, 'roots.json');
  await writeFile(rootsPath, JSON.stringify(kubelet.roots));

  const findTracesNow = () => [
    ...store.list('pods').map(({ metadata }) => `pod ${metadata.name}`),
    ...store.list('leases').map(({ metadata }) => `lease ${metadata.name}`),
    ...kubelet.running().map((name) => `process of ${name}`),
  ];
  return {
    ...{ faults, store, kubelet, requests },
    deps: {
      ...{
        kubeconfigPath,
        namespace: NAMESPACE,
        image: kubelet.repository,
        rootsPath,
        runtimeClass: 'hardened',
      },
      ...{ seccompProfile: 'profiles/millicent.json', startTimeoutMs: 10_000 },
    },
    pods: () => store.list('pods'),
    cutWatches: () => store.cutWatches(),
    cutAttachments() {
      for (const socket of attachments) socket.destroy();
    },
    forgetHistory: () => store.forget(),
    async findTraces() {
      const deadline = Date.now() + 10_000;
      for (;;) {
        const traces = findTracesNow().filter((trace) => !trace.startsWith('lease'));
        if (traces.length === 0 || Date.now() > deadline) return traces;
        await sleep(20);
      }
    },
    async stop() {
      faults.isDown = true;
      await kubelet.stop();
      server.close();
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

class Refusal extends Error {
  code: number;
  reason: string;
  retryAfter: number | undefined;
  constructor(code: number, reason: string, message: string, retryAfter?: number) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

type Parts = { faults: Faults; store: Store; kubelet: Kubelet; requests: string[] };

/** Namespaced resources: what stands before the namespace, and their plural. */
const PATH =
  /^(?:\/api\/v1|\/apis\/(?:coordination|networking)\.k8s\.io\/v1)\/namespaces\/tools\/(pods|leases|networkpolicies)(?:\/([^/]+)(?:\/(log))?)?$/;
const KINDS: Record<string, string> = { pods: 'Pod', leases: 'Lease', networkpolicies: 'NetworkPolicy' };

async function serve(parts: Parts, asked: IncomingMessage, answer: ServerResponse): Promise<void> {
  const { store, kubelet, faults } = parts;
  const url = new URL(asked.url ?? '', 'https://localhost');
  const found = PATH.exec(url.pathname);
  const [, plural = '', name, part] = found ?? [];
  const isWatch = url.searchParams.get('watch') === 'true';
  await faultsOf(parts, asked, isWatch ? 'watch' : (part ?? plural));
  authorize(asked);
  if (found === null) throw new Refusal(404, 'NotFound', 'the server could not find the requested resource');
  const selector = url.searchParams.get('labelSelector') ?? '';
  if (asked.method === 'GET' && name === undefined) {
    if (isWatch) return store.watch({ plural, selector, query: url.searchParams }, answer);
    const items = store.list(plural, selector);
    const metadata = { resourceVersion: store.version() };
    return answerJson(answer, 200, { kind: `${KINDS[plural]}List`, apiVersion: 'v1', metadata, items });
  }
  if (asked.method === 'GET' && part === 'log') {
    const log = kubelet.readLog(name ?? '', url.searchParams.get('container') ?? '');
    if (log === undefined) throw new Refusal(404, 'NotFound', `pods "${name}" not found`);
    if (log === 'waiting')
      throw new Refusal(
        400,
        'BadRequest',
        `container "jail" in pod "${name}" is waiting to start: ContainerCreating`,
      );
    answer.writeHead(200, { 'content-type': 'text/plain' });
    answer.end(log.subarray(0, Number(url.searchParams.get('limitBytes') ?? log.length)));
    return;
  }
  const notFound = () => new Refusal(404, 'NotFound', `${plural} "${name}" not found`);
  const body = asked.method === 'GET' ? undefined : parseBody(await text(asked));
  if (asked.method === 'POST' && name === undefined) {
    const object = requireObject(body, KINDS[plural] ?? '');
    if (store.read(plural, object.metadata.name))
      throw new Refusal(409, 'AlreadyExists', `${plural} "${object.metadata.name}" already exists`);
    const why = plural === 'pods' ? kubelet.validate(object) : undefined;
    if (why !== undefined)
      throw new Refusal(422, 'Invalid', `Pod "${object.metadata.name}" is invalid: ${why}`);
    const made = {
      ...object,
      metadata: {
        ...object.metadata,
        namespace: NAMESPACE,
        uid: randomUUID(),
        creationTimestamp: new Date().toISOString(),
      },
      ...(plural === 'pods' && { spec: dropFields(object.spec, faults.drops), status: { phase: 'Pending' } }),
    };
    const stored = store.write(plural, made);
    if (plural === 'pods') kubelet.start(stored);
    return answerJson(answer, 201, stored);
  }
  const current = store.read(plural, name ?? '');
  if (current === undefined) throw notFound();
  if (asked.method === 'GET') return answerJson(answer, 200, current);
  if (asked.method === 'PUT') {
    const object = requireObject(body, KINDS[plural] ?? '');
    const version = object.metadata.resourceVersion;
    if (version !== undefined && version !== current.metadata.resourceVersion)
      throw new Refusal(
        409,
        'Conflict',
        'the object has been modified; please apply your changes to the latest version',
      );
    return answerJson(answer, 200, store.write(plural, object));
  }
  if (asked.method !== 'DELETE')
    throw new Refusal(405, 'MethodNotAllowed', 'the server does not allow this method');
  if (plural !== 'pods') {
    store.remove(plural, current.metadata.name);
    return answerJson(answer, 200, statusOf(200, '', '', 'Success'));
  }
  const options = Object(body) as { gracePeriodSeconds?: number };
  const grace =
    options.gracePeriodSeconds ?? Number(Object(current.spec).terminationGracePeriodSeconds ?? 30);
  kubelet.remove(current.metadata.name, grace, faults.isNodeGone);
  return answerJson(answer, 200, store.read(plural, current.metadata.name) ?? current);
}

async function faultsOf(
  { faults, requests }: Pick<Parts, 'faults' | 'requests'>,
  asked: IncomingMessage,
  what: string,
) {
  const name = `${asked.method} ${what}`;
  requests.push(name);
  if (faults.delayMs > 0) await sleep(faults.delayMs);
  if (faults.isDown) {
    asked.socket.destroy();
    throw new Refusal(500, 'InternalError', 'down');
  }
  const refusal = faults.refuse?.(name);
  if (refusal !== undefined)
    throw new Refusal(refusal.code, refusal.reason, refusal.message ?? refusal.reason, refusal.retryAfter);
}

function authorize(asked: IncomingMessage): void {
  if (asked.headers.authorization !== `Bearer ${TOKEN}`)
    throw new Refusal(401, 'Unauthorized', 'Unauthorized');
}

function dropFields(spec: unknown, drops: readonly string[]): object {
  return Object.fromEntries(Object.entries(Object(spec)).filter(([field]) => !drops.includes(field)));
}

function parseBody(body: string): unknown {
  try {
    return body === '' ? undefined : JSON.parse(body);
  } catch {
    throw new Refusal(400, 'BadRequest', 'the object provided is unrecognized');
  }
}

function requireObject(body: unknown, kind: string): ApiObject {
  const object = Object(body) as ApiObject;
  if (object.kind !== kind) throw new Refusal(400, 'BadRequest', `the object is no ${kind}`);
  if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(object.metadata?.name ?? ''))
    throw new Refusal(422, 'Invalid', 'metadata.name: must be an RFC 1123 subdomain');
  for (const [key, value] of Object.entries(object.metadata.labels ?? {}))
    if (!/^[\w.-]{1,63}$/.test(key) || !/^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$/.test(value))
      throw new Refusal(422, 'Invalid', `metadata.labels: ${key}=${value}`);
  return object;
}

function answerJson(answer: ServerResponse, code: number, body: object): void {
  answer.writeHead(code, { 'content-type': 'application/json' });
  answer.end(JSON.stringify(body));
}

function answerStatus(answer: ServerResponse, { code, reason, message, retryAfter }: Refusal): void {
  if (answer.headersSent || answer.destroyed) return;
  if (retryAfter !== undefined) answer.setHeader('retry-after', String(retryAfter));
  answerJson(answer, code, statusOf(code, reason, message));
}

export function statusOf(code: number, reason: string, message: string, status = 'Failure'): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status, message, reason, code };
}

function spellKubeconfig(port: number): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace: NAMESPACE } }],
    clusters: [
      {
        name: 'test',
        cluster: {
          server: `https://localhost:${port}`,
          'certificate-authority-data': Buffer.from(TEST_TLS.cert).toString('base64'),
        },
      },
    ],
    users: [{ name: 'test', user: { token: TOKEN } }],
  });
}
