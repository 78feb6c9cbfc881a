import type { V1Pod } from '@kubernetes/client-node';
import { z } from 'zod';
import { unlessStatus } from './api-fault.ts';
import type { Cluster } from './cluster.ts';
import { type Pod, podSchema } from './pod-state.ts';

/** The pods of one namespace. */
export type Pods = {
  create(pod: V1Pod, signal: AbortSignal): Promise<Pod>;
  /** Undefined when there is none. */
  read(name: string, signal: AbortSignal): Promise<Pod | undefined>;
  list(selector: string, signal: AbortSignal): Promise<{ pods: Pod[]; resourceVersion: string }>;
  /** What a pod wrote first; empty as long as it has none. */
  readLog(name: string, container: string, signal: AbortSignal): Promise<string>;
  /** One that is gone is no error. With no grace at all the cluster forgets the pod before its processes ended. */
  remove(name: string, graceSeconds: number, signal: AbortSignal): Promise<void>;
  readonly path: string;
};

const LIST_MAX = 500;
const LOG_BYTES = 64;

const createdSchema = z.object({
  spec: z.object({ hostUsers: z.boolean().optional(), runtimeClassName: z.string().optional() }),
});
const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().default('') }),
  items: z.array(podSchema),
});

export function createPods(cluster: Cluster, namespace: string): Pods {
  const path = `/api/v1/namespaces/${namespace}/pods`;
  return {
    path,
    async create(pod, signal) {
      const created = JSON.parse(await cluster.ask({ method: 'POST', path, body: pod }, signal));
      const { spec } = createdSchema.parse(created);
      // Servers leave out what they do not know, or have switched off, without a word.
      if (spec.hostUsers !== pod.spec?.hostUsers || spec.runtimeClassName !== pod.spec?.runtimeClassName)
        throw new Error(
          'its API server does not keep hostUsers or runtimeClassName of pods: user namespaces need Kubernetes 1.33.',
        );
      return podSchema.parse(created);
    },
    async read(name, signal) {
      const text = await unlessStatus([404], cluster.ask({ method: 'GET', path: `${path}/${name}` }, signal));
      return text === undefined ? undefined : podSchema.parse(JSON.parse(text));
    },
    async list(selector, signal) {
      const query = { labelSelector: selector, limit: `${LIST_MAX}` };
      const text = await cluster.ask({ method: 'GET', path, query }, signal);
      const { items, metadata } = listSchema.parse(JSON.parse(text));
      return { pods: items, resourceVersion: metadata.resourceVersion };
    },
    async readLog(name, container, signal) {
      const query = { container, limitBytes: `${LOG_BYTES}` };
      return cluster.ask({ method: 'GET', path: `${path}/${name}/log`, query }, signal);
    },
    async remove(name, graceSeconds, signal) {
      const body = { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: graceSeconds };
      await unlessStatus(
        [404, 409],
        cluster.ask({ method: 'DELETE', path: `${path}/${name}`, body }, signal),
      );
    },
  };
}
