import { timeLimit } from '../../../core/time-limit.ts';
import type { Cluster } from './cluster.ts';
import { OWNER_LABEL } from './labels.ts';
import { listLeases, removeLease } from './lease.ts';
import type { Pods } from './pods.ts';

export type SweepInput = {
  cluster: Cluster;
  namespace: string;
  pods: Pods;
  ownerId: string;
  /** Names of pods of ours that are in use. */
  inUse: ReadonlySet<string>;
};

const SWEEP_TIMEOUT_MS = 30_000;
const GRACE_SECONDS = 1;

/** Removes the pods and leases of gateways whose lease has run out, wherever they ran. Answers how many pods. */
export async function sweepNamespace(input: SweepInput): Promise<number> {
  const { cluster, namespace, pods, ownerId, inUse } = input;
  const limit = timeLimit(new AbortController().signal, SWEEP_TIMEOUT_MS);
  // Leases after pods: whoever takes a lease before its first pod is then seen to live.
  const listed = (await pods.list(OWNER_LABEL, limit)).pods;
  const leases = await listLeases({ cluster, namespace }, limit);
  const living = new Set(leases.filter(({ isAlive }) => isAlive).map(({ owner }) => owner));
  const left = listed.filter(({ metadata }) => {
    const owner = metadata.labels?.[OWNER_LABEL] ?? '';
    return owner === ownerId ? !inUse.has(metadata.name) : !living.has(owner);
  });
  const removals = await Promise.allSettled(
    left.map(({ metadata }) => pods.remove(metadata.name, GRACE_SECONDS, limit)),
  );
  const dead = leases.filter(({ owner, isAlive }) => !isAlive && owner !== ownerId);
  await Promise.allSettled(dead.map(({ name }) => removeLease({ cluster, namespace }, name, limit)));
  return removals.filter(({ status }) => status === 'fulfilled').length;
}
