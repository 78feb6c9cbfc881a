import { z } from 'zod';
import type { Log } from '../../../core/log.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import { ApiFault, unlessStatus } from './api-fault.ts';
import type { Cluster } from './cluster.ts';
import { OWNER_LABEL } from './labels.ts';

/** Shows every other gateway that this one lives (Kubernetes API, coordination.k8s.io/v1 "Lease"). */
export type OwnerLease = {
  /** Ends the renewals: somebody else goes on with them. */
  stop(): void;
  /** Ends the renewals, and the lease. */
  end(): Promise<void>;
};

export type LeaseInput = { cluster: Cluster; namespace: string; ownerId: string; log: Log };

export const LEASE_SECONDS = 60;
const RENEW_MS = 15_000;
const REQUEST_TIMEOUT_MS = 10_000;
const LIST_MAX = 500;

const leaseSchema = z.object({
  metadata: z.object({
    name: z.string(),
    labels: z.record(z.string(), z.string()).nullish(),
    resourceVersion: z.string().optional(),
  }),
  spec: z.object({ renewTime: z.string().nullish(), leaseDurationSeconds: z.int().nullish() }).default({}),
});
const leasesSchema = z.object({ items: z.array(leaseSchema) });

/** Takes the lease and renews it until it is ended. Throws when it cannot be taken. */
export async function takeLease(input: LeaseInput, signal: AbortSignal): Promise<OwnerLease> {
  const { cluster, log } = input;
  const path = pathOf(input.namespace);
  const name = `millicent-${input.ownerId}`;
  // The first answer of a server tells its time.
  await unlessStatus([404], cluster.ask({ method: 'GET', path: `${path}/${name}` }, signal));
  await write(input, signal);
  const timer = setInterval(() => {
    const limit = timeLimit(new AbortController().signal, REQUEST_TIMEOUT_MS);
    write(input, limit).catch((error: unknown) => {
      log.warn({ err: error, cluster: cluster.server }, 'the lease of this gateway could not be renewed');
    });
  }, RENEW_MS);
  timer.unref();
  return {
    stop: () => clearInterval(timer),
    async end() {
      clearInterval(timer);
      const limit = timeLimit(new AbortController().signal, REQUEST_TIMEOUT_MS);
      await removeLease(input, name, limit).catch(() => undefined);
    },
  };
}

export type OwnerLife = { name: string; owner: string; isAlive: boolean };

/** All leases of gateways, by the API server's own clock. */
export async function listLeases(
  { cluster, namespace }: Pick<LeaseInput, 'cluster' | 'namespace'>,
  signal: AbortSignal,
): Promise<OwnerLife[]> {
  const query = { labelSelector: OWNER_LABEL, limit: `${LIST_MAX}` };
  const text = await cluster.ask({ method: 'GET', path: pathOf(namespace), query }, signal);
  return leasesSchema.parse(JSON.parse(text)).items.map(({ metadata, spec }) => {
    const renewedAt = Date.parse(spec.renewTime ?? '');
    const ageMs = cluster.now() - renewedAt;
    return {
      name: metadata.name,
      owner: metadata.labels?.[OWNER_LABEL] ?? '',
      isAlive: ageMs < (spec.leaseDurationSeconds ?? LEASE_SECONDS) * 1000,
    };
  });
}

export async function removeLease(
  { cluster, namespace }: Pick<LeaseInput, 'cluster' | 'namespace'>,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const asked = { method: 'DELETE', path: `${pathOf(namespace)}/${name}` } as const;
  await unlessStatus([404], cluster.ask(asked, signal));
}

function pathOf(namespace: string): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
}

/** Created, or replaced as it was read. */
async function write({ cluster, namespace, ownerId }: LeaseInput, signal: AbortSignal): Promise<void> {
  const name = `millicent-${ownerId}`;
  const path = pathOf(namespace);
  const body = {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name, labels: { [OWNER_LABEL]: ownerId } },
    spec: {
      holderIdentity: ownerId,
      leaseDurationSeconds: LEASE_SECONDS,
      // MicroTime: six digits after the point.
      renewTime: new Date(cluster.now()).toISOString().replace('Z', '000Z'),
    },
  };
  const current = await unlessStatus([404], cluster.ask({ method: 'GET', path: `${path}/${name}` }, signal));
  if (current === undefined) {
    await cluster.ask({ method: 'POST', path, body }, signal);
    return;
  }
  const { resourceVersion } = leaseSchema.parse(JSON.parse(current)).metadata;
  const replaced = { ...body, metadata: { ...body.metadata, resourceVersion } };
  try {
    await cluster.ask({ method: 'PUT', path: `${path}/${name}`, body: replaced }, signal);
  } catch (error) {
    // Written in the same moment by an earlier attempt of ours that was thought lost.
    if (!(error instanceof ApiFault && error.status === 409)) throw error;
  }
}
