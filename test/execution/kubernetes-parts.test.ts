import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readKubernetes } from '../../src/config/kubernetes.ts';
import { explainFailure, explainRefusal } from '../../src/execution/backends/kubernetes/api-fault.ts';
import { judgePod, podSchema } from '../../src/execution/backends/kubernetes/pod-state.ts';
import { imageOf, readRoots } from '../../src/execution/backends/kubernetes/roots.ts';

const pod = (status: object, metadata: object = {}) =>
  judgePod(podSchema.parse({ metadata: { name: 'jail', ...metadata }, status }));
const terminated = (state: object, rest: object = {}) => ({
  ...{ phase: 'Failed', containerStatuses: [{ state: { terminated: state } }] },
  ...rest,
});

describe('how a pod ended is', () => {
  it.each([
    ['its exit code', { exitCode: 7, reason: 'Error' }, { code: 7, signal: null, isOutOfMemory: false }],
    [
      'its signal',
      { exitCode: 134, reason: 'Error' },
      { code: null, signal: 'SIGABRT', isOutOfMemory: false },
    ],
    [
      'its memory',
      { exitCode: 137, reason: 'OOMKilled' },
      { code: null, signal: 'SIGKILL', isOutOfMemory: true },
    ],
    [
      'a signal told as one',
      { exitCode: 0, signal: 9 },
      { code: null, signal: 'SIGKILL', isOutOfMemory: false },
    ],
  ])('%s', (_name, state, expected) => {
    expect(pod(terminated(state))).toMatchObject({ kind: 'ended', ...expected });
  });

  it.each([
    ['eviction', terminated({ exitCode: 137 }, { reason: 'Evicted' })],
    ['its deadline', terminated({ exitCode: 137 }, { reason: 'DeadlineExceeded' })],
    ['a node’s shutdown', { phase: 'Failed', reason: 'Terminated' }],
    ['a program that is not there', terminated({ exitCode: 128, reason: 'StartError' })],
    ['a runtime that lost it', terminated({ exitCode: 137, reason: 'ContainerStatusUnknown' })],
  ])('never the tool’s doing after %s', (_name, status) => {
    expect(pod(status)).toMatchObject({ kind: 'lost' });
  });

  it('never the tool’s doing when somebody deletes it', () => {
    const running = { phase: 'Running', containerStatuses: [{ state: { running: {} } }] };
    expect(pod(running, { deletionTimestamp: '2026-01-01T00:00:00Z' })).toMatchObject({ kind: 'lost' });
  });
});

it.each([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
])('a pod that waits for %s is not waited for', (reason) => {
  const status = { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason } } }] };
  expect(pod(status)).toMatchObject({ kind: 'lost', why: expect.stringContaining(reason) });
});

it('what an API server says of itself goes to the log, and to nobody else', () => {
  const refusal = explainRefusal(
    500,
    JSON.stringify({ kind: 'Status', reason: 'InternalError', message: 'etcd at 10.0.0.3 is on fire' }),
    undefined,
  );
  expect(refusal.message).toContain('10.0.0.3');
  expect(explainFailure(refusal)).not.toContain('10.0.0.3');
  expect(explainRefusal(502, '<html>', 'soon')).toMatchObject({
    status: 502,
    reason: '',
    retryAfterMs: 1000,
  });
});

describe('the list of roots', () => {
  const root = (kind: string, digit: string) => ({
    ...{ kind, version: '1', command: ['/usr/bin/x'], environment: {}, prlimit: '/usr/bin/prlimit' },
    ...{ sha256: digit.repeat(64), digest: `sha256:${digit.repeat(64)}` },
  });
  const read = async (content: string) => {
    const folder = await mkdtemp(join(tmpdir(), 'millicent-roots-'));
    try {
      await writeFile(join(folder, 'roots.json'), content);
      return await readRoots(join(folder, 'roots.json'));
    } finally {
      await rm(folder, { recursive: true });
    }
  };

  it('offers the first of each kind, and an older one to who was published on it', async () => {
    const roots = await read(JSON.stringify([root('python', 'a'), root('python', 'b'), root('node', 'c')]));
    expect(roots.current.get('python')?.sha256).toBe('a'.repeat(64));
    expect(roots.choose('python', 'b'.repeat(64))?.sha256).toBe('b'.repeat(64));
    expect(roots.choose('python', 'f'.repeat(64))?.sha256).toBe('a'.repeat(64));
    const older = roots.choose('python', 'b'.repeat(64));
    if (older === undefined) throw new Error('there is none');
    expect(imageOf('r.test/x', older)).toBe(`r.test/x:python-${'b'.repeat(64)}@sha256:${'b'.repeat(64)}`);
  });

  it.each([
    '',
    '[]',
    '{}',
    '[{"kind":"perl"}]',
    JSON.stringify([{ ...root('python', 'a'), digest: 'latest' }]),
  ])('that is %s is refused', async (content) => {
    await expect(read(content)).rejects.toThrow(/scripts\/root-images\.ts/);
  });
});

describe('the configuration', () => {
  const whole = { KUBERNETES_NAMESPACE: 'tools', KUBERNETES_IMAGE: 'r.test/x', KUBERNETES_ROOTS: '/r' };

  it('is there or not, and gVisor unless told', () => {
    expect(readKubernetes({})).toBeUndefined();
    expect(readKubernetes(whole)).toEqual({
      ...{ namespace: 'tools', image: 'r.test/x', rootsPath: '/r', runtimeClass: 'gvisor' },
      ...{ kubeconfigPath: undefined, seccompProfile: undefined },
    });
  });

  it('by half names what is missing', () => {
    expect(() => readKubernetes({ KUBERNETES_SECCOMP: 'x' })).toThrow(
      'KUBERNETES_SECCOMP is set: KUBERNETES_NAMESPACE, KUBERNETES_IMAGE, KUBERNETES_ROOTS must be set too',
    );
  });
});

it('the operator’s chapter says that no cluster has seen this', async () => {
  const text = await readFile(join(import.meta.dirname, '../../OPERATIONS.md'), 'utf8');
  expect(text).toContain('**This backend was never run on a live cluster.**');
});
