import type { V1Pod, V1SeccompProfile } from '@kubernetes/client-node';
import type { JailSpec } from '../../backend.ts';
import { LIMIT_CEILINGS, OPEN_FILES_MAX } from '../../limits.ts';
import { startCommand } from '../../policy/roots/build-root.ts';
import { JAIL_LABEL, OWNER_LABEL } from './labels.ts';
import { imageOf, type PushedRoot } from './roots.ts';

export type PodInput = {
  name: string;
  ownerId: string;
  repository: string;
  root: PushedRoot;
  spec: JailSpec;
  runtimeClass: string;
  /** Name of the profile below the kubelets' seccomp folder; undefined for the runtime's own. */
  seccompProfile: string | undefined;
};

/** The name of the one container. */
export const CONTAINER = 'jail';

const MIB = 1024 * 1024;
const NOBODY = 65534;
const CODE_BYTES = 64 * MIB;
const SHM_BYTES = MIB;
/** The kubelet keeps up to 50 MB of what a container writes, and counts it as the pod's storage. */
const STORAGE_BYTES = 128 * MIB;
/** A gateway that is gone and swept by nobody leaves pods for no longer. */
const POD_SECONDS_MAX = 3600;

/** gVisor's kernel is the boundary there; kubelets refuse user namespaces for it (google/gvisor, issue 13303). */
export function isGvisor(runtimeClass: string): boolean {
  return /gvisor|runsc/.test(runtimeClass);
}

/**
 * A jail as the API server is asked for it: nobody's user, no capability, no token, nothing writable but three small
 * file systems in memory, which count as the jail's memory. That it has no network is the network policy's matter.
 */
export function podOf(input: PodInput): V1Pod {
  const { name, ownerId, runtimeClass } = input;
  const { tmpBytesMax } = input.spec.limits;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { [OWNER_LABEL]: ownerId, [JAIL_LABEL]: name } },
    spec: {
      runtimeClassName: runtimeClass,
      ...(isGvisor(runtimeClass) ? {} : { hostUsers: false }),
      ...{ hostNetwork: false, hostPID: false, hostIPC: false, shareProcessNamespace: false },
      ...{ automountServiceAccountToken: false, enableServiceLinks: false },
      restartPolicy: 'Never',
      activeDeadlineSeconds: POD_SECONDS_MAX,
      terminationGracePeriodSeconds: 1,
      hostname: 'mcp',
      // The cluster's resolver and search domains would stand in /etc/resolv.conf.
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['127.0.0.1'] },
      securityContext: {
        ...{ runAsNonRoot: true, runAsUser: NOBODY, runAsGroup: NOBODY },
        seccompProfile: spellSeccomp(input.seccompProfile),
      },
      volumes: [volume('tmp', tmpBytesMax), volume('code', CODE_BYTES), volume('shm', SHM_BYTES)],
      containers: [spellContainer(input)],
    },
  };
}

function spellContainer({
  repository,
  root,
  spec,
}: PodInput): NonNullable<V1Pod['spec']>['containers'][number] {
  const resources = {
    cpu: '1',
    memory: `${spec.limits.memoryBytesMax}`,
    'ephemeral-storage': `${STORAGE_BYTES}`,
  };
  const environment = {
    PATH: '/usr/bin',
    HOME: '/tmp',
    TMPDIR: '/tmp',
    LANG: 'C.UTF-8',
    ...root.environment,
  };
  return {
    name: CONTAINER,
    image: imageOf(repository, root),
    imagePullPolicy: 'IfNotPresent',
    command: [...boundResources(root, spec), ...startCommand(root, spec.limits)],
    workingDir: '/tmp',
    env: Object.entries(environment).map(([name, value]) => ({ name, value })),
    // When the gateway is gone stdin ends, and a jail that waits for code ends by itself.
    ...{ stdin: true, stdinOnce: true, tty: false },
    resources: { limits: resources, requests: resources },
    securityContext: {
      ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, privileged: false },
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts: [
      { name: 'tmp', mountPath: '/tmp' },
      { name: 'code', mountPath: '/mcp' },
      { name: 'shm', mountPath: '/dev/shm' },
    ],
  };
}

/**
 * Limits of each process, and the number of them: a pod cannot be given one of its own by the API. In a user namespace
 * of its own (hostUsers) the kernel counts the jail's processes and nobody else's.
 */
function boundResources({ prlimit }: PushedRoot, { limits }: JailSpec): string[] {
  return [
    prlimit,
    `--nproc=${limits.pidsMax}`,
    `--nofile=${limits.openFilesMax ?? OPEN_FILES_MAX}`,
    ...['--core=0', '--sigpending=256', '--memlock=65536'],
    `--fsize=${Math.max(limits.tmpBytesMax, CODE_BYTES)}`,
    // A second bound on time, in case the gateway is not there to see the first.
    `--cpu=${Math.ceil(LIMIT_CEILINGS.runTimeoutMs / 1000) * 2}`,
    '--',
  ];
}

function volume(name: string, bytes: number) {
  return { name, emptyDir: { medium: 'Memory', sizeLimit: `${bytes}` } };
}

function spellSeccomp(profile: string | undefined): V1SeccompProfile {
  if (profile === undefined) return { type: 'RuntimeDefault' };
  return { type: 'Localhost', localhostProfile: profile };
}
