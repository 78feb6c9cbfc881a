import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import {
  createKubernetesBackend,
  type KubernetesBackendDeps,
} from '../../src/execution/backends/kubernetes/index.ts';
import { type Backend, DEFAULT_LIMITS, type JailSpec } from '../../src/execution/index.ts';
import { injectCode } from '../../src/execution/inject.ts';
import { awaitReady } from '../../src/execution/ready.ts';
import { startTestCluster, type TestCluster } from '../harness/kubernetes.ts';
import type { PodSpec } from '../harness/kubernetes-kubelet.ts';
import { waitUntil } from '../harness/process.ts';
import type { KubernetesGatewayOrder } from './children/kubernetes-gateway.ts';
import { call, codeOf, never, testExecution, textStats, WORK_DIR } from './harness.ts';

const MB = 1024 * 1024;
const moody = codeOf(['mcp.py', 'moody.py']);
const SPEC: JailSpec = { runtime: 'python', limits: DEFAULT_LIMITS };
const delivered = { kind: 'delivered', result: { structuredContent: { words: 2 } } };
const lost = { type: 'unavailable', options: { isUncharged: true } };

let cluster: TestCluster;
let shared: Backend;
const backends: Backend[] = [];

const open = (deps: Partial<KubernetesBackendDeps> = {}): Backend => {
  const backend = createKubernetesBackend({ ...cluster.deps, clock: systemClock, log: silentLog, ...deps });
  backends.push(backend);
  return backend;
};
const count = (backend: Backend) =>
  call(testExecution(backend), { code: textStats, toolName: 'count', arguments: { text: 'a b' } });
const sleepFor = (seconds: number, backend = shared) =>
  call(testExecution(backend), {
    code: moody,
    toolName: 'mood',
    arguments: { want: 'sleep', seconds },
  }).catch((error: unknown) => error);
/** Starts a jail with code in it, and reads it to its end. */
const run = async (spec: Partial<JailSpec>, source: string, backend = shared) => {
  const jail = await backend.acquire({ ...SPEC, ...spec }, never);
  await awaitReady(jail, never);
  injectCode(jail, codeOf([], { 'main.py': source }));
  const [out, errors] = await Promise.all([text(jail.stdout), text(jail.stderr)]);
  const exit = await jail.exit;
  await jail.kill('done');
  return { out: out.trim(), errors, exit };
};
const runningPods = () => cluster.pods().filter(({ status }) => Object(status).phase === 'Running');
const detailOf = async (backend: Backend): Promise<string> => {
  const status = await backend.status();
  return status.kind === 'unavailable' ? status.detail : 'ready';
};

beforeAll(async () => {
  cluster = await startTestCluster(WORK_DIR);
  shared = open();
  expect(await detailOf(shared)).toBe('ready');
}, 60_000);
afterEach(async () => {
  Object.assign(cluster.faults, {
    ...{
      isDown: false,
      delayMs: 0,
      losesAnswerTo: undefined,
      refuse: undefined,
      stuck: undefined,
      ignores: [],
      drops: [],
      isNodeGone: false,
    },
    ...{ startMs: 0, attachMs: 0, protocols: ['v5.channel.k8s.io', 'v4.channel.k8s.io'] },
  });
  for (const backend of backends.splice(1)) await backend.close();
  expect(await cluster.findTraces()).toEqual([]);
}, 60_000);
afterAll(async () => {
  await shared?.close();
  expect(cluster?.store.list('leases')).toEqual([]);
  await cluster?.stop();
}, 60_000);

describe('a jail that is a pod', () => {
  it('is asked for with nothing that it does not need', async () => {
    const limits = { memoryBytesMax: 96 * MB, pidsMax: 9, tmpBytesMax: 3 * MB };
    const jail = await shared.acquire({ ...SPEC, limits }, never);
    const pod = cluster.store.read('pods', jail.id);
    await jail.kill('done');
    expect(pod?.metadata.labels).toEqual({
      'millicent.jail': jail.id,
      'millicent.owner': expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    const spec = pod?.spec as PodSpec;
    expect(spec).toMatchObject({
      ...{
        runtimeClassName: 'hardened',
        hostUsers: false,
        hostNetwork: false,
        hostPID: false,
        hostIPC: false,
      },
      ...{ automountServiceAccountToken: false, enableServiceLinks: false, restartPolicy: 'Never' },
      ...{ dnsPolicy: 'None', dnsConfig: { nameservers: ['127.0.0.1'] } },
      activeDeadlineSeconds: expect.any(Number),
      securityContext: {
        ...{ runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534 },
        seccompProfile: { type: 'Localhost', localhostProfile: 'profiles/millicent.json' },
      },
    });
    expect(spec.volumes.map(({ emptyDir }) => emptyDir)).toEqual(
      [3 * MB, 64 * MB, MB].map((bytes) => ({ medium: 'Memory', sizeLimit: `${bytes}` })),
    );
    const [container, ...others] = spec.containers;
    expect(others).toEqual([]);
    expect(container).toMatchObject({
      image: expect.stringMatching(
        /^registry\.test\/millicent\/roots:python-[0-9a-f]{64}@sha256:[0-9a-f]{64}$/,
      ),
      ...{ stdin: true, stdinOnce: true, tty: false },
      securityContext: {
        ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, privileged: false },
        capabilities: { drop: ['ALL'] },
      },
    });
    expect(container?.command).toContain('--nproc=9');
    const { limits: held, requests } = container?.resources ?? {};
    expect(held).toEqual(requests);
    expect(held).toMatchObject({ cpu: '1', memory: `${96 * MB}`, 'ephemeral-storage': expect.any(String) });
  });

  it('of gVisor has no user namespace, which kubelets refuse there, and has to show gVisor’s kernel', async () => {
    let asked: PodSpec | undefined;
    const looking = setInterval(() => {
      asked ??= cluster.pods().find(({ spec }) => (spec as PodSpec).runtimeClassName === 'gvisor')
        ?.spec as PodSpec;
    }, 5);
    const backend = open({ runtimeClass: 'gvisor', seccompProfile: undefined });
    expect(await detailOf(backend)).toMatch(/gVisor should run sees another kernel/);
    clearInterval(looking);
    expect(asked).not.toHaveProperty('hostUsers');
    expect(asked?.securityContext).toMatchObject({ seccompProfile: { type: 'RuntimeDefault' } });
  });

  it('tells how a program ended: by itself, by a signal, by its memory', async () => {
    const fine = { isOutOfMemory: false, isBackendFailure: false };
    const limits = { ...DEFAULT_LIMITS, memoryBytesMax: 64 * MB };
    expect((await run({}, 'raise SystemExit(7)')).exit).toEqual({ code: 7, signal: null, ...fine });
    const abort = await run({}, 'import os; os.abort()');
    expect(abort.exit).toEqual({ code: null, signal: 'SIGABRT', ...fine });
    const greedy = await run({ limits }, 'held = b"x" * (256 * 1024 * 1024)');
    expect(greedy.exit).toEqual({ code: null, signal: 'SIGKILL', ...fine, isOutOfMemory: true });
  });

  it('says everything it said, in order, to the last byte', async () => {
    const { out, errors } = await run(
      {},
      `
import sys
for line in range(20000): print(line, 'x' * 40)
sys.stderr.write('e' * 100000)`,
    );
    const lines = out.split('\n');
    expect(lines.length).toBe(20_000);
    expect(lines.at(-1)).toBe(`19999 ${'x'.repeat(40)}`);
    expect(errors.length).toBe(100_000);
  });

  it('hears a large input whole, and the end of it', async () => {
    const jail = await shared.acquire(SPEC, never);
    await awaitReady(jail, never);
    injectCode(jail, codeOf([], { 'main.py': 'import sys; print(len(sys.stdin.buffer.read()))' }));
    jail.stdin.end(Buffer.alloc(3 * MB, 'y'));
    expect((await text(jail.stdout)).trim()).toContain(`${3 * MB}`);
    await jail.kill('done');
  });

  it('floods its own pod, and not the gateway’s memory', async () => {
    const jail = await shared.acquire(SPEC, never);
    await awaitReady(jail, never);
    injectCode(jail, codeOf([], { 'main.py': 'import sys\nwhile True: sys.stdout.write("x" * 65536)' }));
    const before = process.memoryUsage().rss;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * MB);
    await jail.kill('output');
  });

  it('is ready once, whether its word came before the attachment, by it, or as both', async () => {
    for (const faults of [{ attachMs: 400 }, { attachMs: 0 }]) {
      Object.assign(cluster.faults, faults);
      const { out } = await run({}, 'print("one line")');
      expect(out).toBe('one line');
    }
  });

  it('is spoken to in version 4 of the protocol where version 5 is not known', async () => {
    cluster.faults.protocols = ['v4.channel.k8s.io'];
    expect(await count(shared)).toMatchObject(delivered);
    cluster.faults.protocols = ['v3.channel.k8s.io'];
    await expect(count(open())).rejects.toMatchObject(lost);
  });

  it('with a layer or a way out is refused in words', async () => {
    const layer = { sha256: 'a'.repeat(64), read: async () => new Uint8Array() };
    await expect(shared.acquire({ ...SPEC, layer }, never)).rejects.toMatchObject({
      options: { detail: expect.stringMatching(/no tools with dependencies/), isUncharged: true },
    });
    await expect(shared.acquire({ ...SPEC, egressSocket: '/x' }, never)).rejects.toMatchObject({
      options: { detail: expect.stringMatching(/no way out/), isUncharged: true },
    });
  });
});

describe('twenty calls at once', () => {
  it('are all answered, through one watch, and leave nothing', async () => {
    cluster.requests.length = 0;
    const execution = testExecution(shared, { concurrencyMax: 20 });
    const ends = await Promise.all(
      Array.from({ length: 20 }, () =>
        call(execution, { code: textStats, toolName: 'count', arguments: { text: 'a b' } }),
      ),
    );
    for (const end of ends) expect(end).toMatchObject(delivered);
    expect(cluster.requests.filter((name) => name === 'GET watch').length).toBeLessThan(5);
    expect(await cluster.findTraces()).toEqual([]);
  }, 60_000);
});

describe('a cluster that is not fit gets no jail, in words', () => {
  it.each([
    ['without a kubeconfig', { kubeconfigPath: '/nowhere' }, /kubeconfig cannot be read: KUBERNETES_CONFIG/],
    ['in no pod', { kubeconfigPath: undefined }, /runs in no pod: KUBERNETES_CONFIG/],
    ['without its list of roots', { rootsPath: '/nowhere' }, /KUBERNETES_ROOTS is not the path/],
    [
      'with an image that was not pushed',
      { image: 'registry.test/other' },
      /cannot be pulled \(ErrImagePull\)/,
    ],
  ])('%s', async (_name, deps, reason) => {
    const backend = open(deps);
    expect(await detailOf(backend)).toMatch(reason);
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject(lost);
  });

  it.each([
    ['that does not know us', { code: 401, reason: 'Unauthorized' }, /does not know us/],
    ['that is broken', { code: 500, reason: 'InternalError' }, /HTTP 500 \(InternalError\)/],
  ])('%s', async (_name, refusal, reason) => {
    cluster.faults.refuse = (what) => (what === 'POST pods' ? refusal : undefined);
    expect(await detailOf(open())).toMatch(reason);
  });

  it.each(['POST pods', 'GET pods', 'GET log', 'GET attach', 'POST leases'])(
    'that forbids %s',
    async (forbidden) => {
      cluster.faults.refuse = (what) => (what === forbidden ? { code: 403, reason: 'Forbidden' } : undefined);
      const backend = open({ startTimeoutMs: 2000 });
      expect(await detailOf(backend)).toMatch(/forbids what jails need/);
    },
  );

  it('that does not let us see its network policies', async () => {
    cluster.faults.refuse = (what) =>
      what.endsWith('networkpolicies') ? { code: 403, reason: 'Forbidden' } : undefined;
    expect(await detailOf(open())).toMatch(/no network policy that shuts jails off/);
  });

  it('where another network policy lets something through to jails', async () => {
    const spec = { podSelector: {}, policyTypes: ['Egress'], egress: [{}] };
    const hole = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'hole' },
      spec,
    };
    cluster.store.write('networkpolicies', hole);
    const detail = await detailOf(open());
    cluster.store.remove('networkpolicies', 'hole');
    expect(detail).toMatch(/network policy hole lets something through/);
  });

  it('and makes the policy that shuts jails off where there is none', async () => {
    cluster.store.remove('networkpolicies', 'millicent-jails');
    expect(await detailOf(open())).toBe('ready');
    expect(cluster.store.read('networkpolicies', 'millicent-jails')?.spec).toEqual({
      podSelector: { matchExpressions: [{ key: 'millicent.jail', operator: 'Exists' }] },
      policyTypes: ['Ingress', 'Egress'],
    });
  });

  it.each([
    ['memory', /took too much memory was not ended for it/],
    ['pids', /of 8 processes could start/],
  ] as const)(
    'whose nodes do not keep to the limit of %s',
    async (limit, reason) => {
      cluster.faults.ignores = [limit];
      expect(await detailOf(open())).toMatch(reason);
    },
    30_000,
  );

  it('that drops the user namespace of pods without a word', async () => {
    cluster.faults.drops = ['hostUsers'];
    expect(await detailOf(open())).toMatch(/does not keep hostUsers/);
  });

  it('whose API server is behind a certificate of somebody else', async () => {
    const config = JSON.parse(await readFile(cluster.deps.kubeconfigPath ?? '', 'utf8'));
    delete config.clusters[0].cluster['certificate-authority-data'];
    const path = join(WORK_DIR, `kubeconfig-${process.pid}`);
    await writeFile(path, JSON.stringify(config));
    expect(await detailOf(open({ kubeconfigPath: path }))).toMatch(
      /cannot be reached \(\w*(CERT|SIGN|VERIFY)\w*\)/,
    );
    config.clusters[0].cluster['insecure-skip-tls-verify'] = true;
    await writeFile(path, JSON.stringify(config));
    expect(await detailOf(open({ kubeconfigPath: path }))).toMatch(/insecure-skip-tls-verify/);
  });
});

describe('what goes wrong on the way', () => {
  it('a server with too much to do is asked again when it said', async () => {
    let refused = 0;
    cluster.faults.refuse = (what) =>
      what === 'POST pods' && refused++ < 2
        ? { code: 429, reason: 'TooManyRequests', retryAfter: 1 }
        : undefined;
    const start = performance.now();
    expect(await count(shared)).toMatchObject(delivered);
    expect(performance.now() - start).toBeGreaterThan(1900);
    expect(refused).toBe(3);
  });

  it('a pod whose creation was done, but never answered, is removed', async () => {
    const backend = open();
    expect(await detailOf(backend)).toBe('ready');
    cluster.faults.losesAnswerTo = 'POST pods';
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject(lost);
    cluster.faults.losesAnswerTo = undefined;
    expect(await cluster.findTraces()).toEqual([]);
  }, 30_000);

  it('a server that is slow is waited for', async () => {
    cluster.faults.delayMs = 300;
    expect(await count(shared)).toMatchObject(delivered);
  }, 30_000);

  it('a watch that is cut off, or too old, misses nothing', async () => {
    const calls = Array.from({ length: 4 }, () => sleepFor(1));
    await waitUntil(async () => runningPods().length === 4);
    cluster.cutWatches();
    cluster.forgetHistory();
    cluster.cutWatches();
    for (const end of await Promise.all(calls)) expect(end).toMatchObject({ kind: 'delivered' });
  }, 30_000);

  it('an attachment that breaks in a call is not the tool’s failure, and its pod is removed', async () => {
    const calling = sleepFor(5);
    await waitUntil(async () => runningPods().length === 1);
    await waitUntil(async () => cluster.kubelet.isTold(runningPods()[0]?.metadata.name ?? ''));
    cluster.cutAttachments();
    expect(await calling).toMatchObject(lost);
    expect(await cluster.findTraces()).toEqual([]);
    expect(await count(shared)).toMatchObject(delivered);
  }, 30_000);

  it('a pod that is evicted, or deleted by somebody else, is not the tool’s failure', async () => {
    for (const end of ['evict', 'delete'] as const) {
      const calling = sleepFor(5);
      await waitUntil(async () => runningPods().length === 1);
      const name = runningPods()[0]?.metadata.name ?? '';
      await waitUntil(async () => cluster.kubelet.isTold(name));
      if (end === 'evict') await cluster.kubelet.evict(name);
      else cluster.kubelet.remove(name, 30, false);
      expect(await calling).toMatchObject(lost);
      expect(await cluster.findTraces()).toEqual([]);
    }
    expect(await count(shared)).toMatchObject(delivered);
  }, 30_000);

  it('a server that goes down fails calls without charge, says so, and serves again once it is back', async () => {
    const backend = open();
    expect(await count(backend)).toMatchObject(delivered);
    cluster.faults.isDown = true;
    await expect(count(backend)).rejects.toMatchObject(lost);
    expect(await detailOf(backend)).toMatch(/cannot be reached \(\w+\)/);
    cluster.faults.isDown = false;
    await waitUntil(async () => (await backend.status()).kind === 'ready', 20_000);
    expect(await count(backend)).toMatchObject(delivered);
  }, 60_000);

  it('a cluster without room says so, and is asked again with the next call', async () => {
    // Also what the call in the end may take to start, on a machine with other things to do.
    const backend = open({ startTimeoutMs: 5_000 });
    expect(await detailOf(backend)).toBe('ready');
    cluster.faults.stuck = 'unschedulable';
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject(lost);
    expect(await cluster.findTraces()).toEqual([]);
    cluster.faults.stuck = undefined;
    expect(await count(backend)).toMatchObject(delivered);
  }, 60_000);

  it('a node that is gone does not keep names for ever: its pod is deleted by force', async () => {
    const jail = await shared.acquire(SPEC, never);
    cluster.faults.isNodeGone = true;
    await jail.kill('done');
    expect(await cluster.findTraces()).toEqual([]);
  }, 60_000);

  it('a call that is cancelled while its pod starts leaves none', async () => {
    cluster.faults.startMs = 300;
    const cancelling = new AbortController();
    const acquiring = shared.acquire(SPEC, cancelling.signal);
    setTimeout(() => cancelling.abort(new Error('cancelled')), 50);
    await expect(acquiring).rejects.toThrow('cancelled');
    expect(await cluster.findTraces()).toEqual([]);
  });
});

describe('gateways that come and go', () => {
  it('a gateway killed with 6 calls in flight leaves nothing that another does not sweep', async () => {
    const calls = 6;
    const order: KubernetesGatewayOrder = { deps: cluster.deps, calls };
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', join(import.meta.dirname, 'children/kubernetes-gateway.ts'), JSON.stringify(order)],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const own = new Set(cluster.store.list('leases').map(({ metadata }) => metadata.name));
    const strange = () => cluster.store.list('leases').find(({ metadata }) => !own.has(metadata.name));
    await waitUntil(async () => runningPods().length === calls, 60_000);
    expect(await shared.sweep()).toBe(0);
    child.kill('SIGKILL');
    await once(child, 'exit');
    // Its lease still holds: it might only be slow.
    expect(await shared.sweep()).toBe(0);
    const lease = strange();
    if (lease === undefined) throw new Error('it had no lease');
    const renewTime = new Date(Date.now() - 120_000).toISOString().replace('Z', '000Z');
    cluster.store.write('leases', { ...lease, spec: { ...Object(lease.spec), renewTime } });
    expect(await shared.sweep()).toBe(calls);
    expect(await cluster.findTraces()).toEqual([]);
    expect(strange()).toBeUndefined();
  }, 90_000);

  it('a gateway that closes ends every jail and leaves nothing, not even its lease', async () => {
    const before = cluster.store.list('leases').length;
    const backend = open();
    const jails = await Promise.all([backend.acquire(SPEC, never), backend.acquire(SPEC, never)]);
    await backend.close();
    for (const jail of jails) expect((await jail.exit).isBackendFailure).toBe(false);
    expect(await cluster.findTraces()).toEqual([]);
    expect(cluster.store.list('leases').length).toBe(before);
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject({ type: 'unavailable' });
  });
});
