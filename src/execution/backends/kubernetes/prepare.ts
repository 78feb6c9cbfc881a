import type { Log } from '../../../core/log.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { Jail, JailSpec } from '../../backend.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { OWNER_LABEL } from './labels.ts';
import { type OwnerLease, takeLease } from './lease.ts';
import { judgeNetworkPolicy } from './network-policy.ts';
import { createPodFeed, type PodFeed } from './pod-feed.ts';
import { isGvisor } from './pod-spec.ts';
import { createPods, type Pods } from './pods.ts';
import { type PushedRoots, readRoots } from './roots.ts';
import { judgeJails, judgeNode } from './trial.ts';

/** A cluster in which jails can be started. */
export type Prepared = {
  cluster: Cluster;
  pods: Pods;
  feed: PodFeed;
  roots: PushedRoots;
  lease: OwnerLease;
  /** Ends what listens; jails that still run are lost with it. */
  close(): void;
};

export type PrepareInput = {
  kubeconfigPath: string | undefined;
  namespace: string;
  rootsPath: string;
  runtimeClass: string;
  ownerId: string;
  /** Whether jails of an earlier success may still run, under the same lease. */
  isAgain: boolean;
  open(parts: Omit<Prepared, 'lease'>, spec: JailSpec): Promise<Jail>;
  log: Log;
  signal: AbortSignal;
};

const PREPARE_REQUEST_MS = 10_000;

/**
 * Makes a cluster ready: reads how it is reached and which roots it has, shuts the network, takes a lease, and believes
 * only what trial jails report. Throws, in words for the operator, what is not as it has to be.
 */
export async function prepareCluster(input: PrepareInput): Promise<Prepared> {
  const { namespace, ownerId, log, signal } = input;
  const roots = await readRoots(input.rootsPath);
  if (!roots.current.has('python')) throw new Error('KUBERNETES_ROOTS names no root of Python.');
  const cluster = await openCluster(input.kubeconfigPath);
  const pods = createPods(cluster, namespace);
  const feed = createPodFeed({ cluster, pods, ownerId, log });
  const close = () => {
    feed.close();
    cluster.close();
  };
  const parts = { cluster, pods, feed, roots, close };
  let lease: OwnerLease | undefined;
  try {
    const limit = timeLimit(signal, PREPARE_REQUEST_MS);
    const fault = await judgeNetworkPolicy(cluster, namespace, limit);
    if (fault !== undefined) throw new Error(fault);
    // Who may not list them would wait for pods in vain.
    await pods.list(`${OWNER_LABEL}=${ownerId}`, limit);
    lease = await takeLease({ cluster, namespace, ownerId, log }, limit);
    const start = (spec: JailSpec) => input.open(parts, spec);
    const why = await judgeJails({ start, isGvisor: isGvisor(input.runtimeClass) });
    if (why !== undefined) throw new Error(`${why}.`);
    if (roots.current.has('node')) {
      const what = await judgeNode(start);
      if (what !== undefined) roots.withdraw('node');
      if (what !== undefined) log.warn({ why: what }, 'hosted tools in Node cannot be run there');
    }
    return { ...parts, lease };
  } catch (error) {
    if (input.isAgain) lease?.stop();
    else await lease?.end();
    close();
    throw error;
  }
}
