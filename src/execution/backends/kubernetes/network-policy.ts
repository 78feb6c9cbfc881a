import { z } from 'zod';
import { ApiFault, unlessStatus } from './api-fault.ts';
import type { Cluster } from './cluster.ts';
import { JAIL_LABEL } from './labels.ts';

const POLICY = 'millicent-jails';

const selectorSchema = z.object({
  matchLabels: z.record(z.string(), z.string()).nullish(),
  matchExpressions: z
    .array(z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).nullish() }))
    .nullish(),
});
const policySchema = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    podSelector: selectorSchema.nullish(),
    policyTypes: z.array(z.string()).nullish(),
    ingress: z.array(z.unknown()).nullish(),
    egress: z.array(z.unknown()).nullish(),
  }),
});
const policiesSchema = z.object({ items: z.array(policySchema) });
type Policy = z.infer<typeof policySchema>;

/**
 * Whether jails are shut off by a network policy, which is made when it is not there. Policies add up: one that lets
 * something through to every pod of the namespace does so for jails too. Undefined when all is well; else why not.
 * Whether the cluster's network keeps to policies at all, the trial finds out.
 */
export async function judgeNetworkPolicy(
  cluster: Cluster,
  namespace: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const path = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`;
  const list = async () => {
    const text = await cluster.ask({ method: 'GET', path, query: { limit: '500' } }, signal);
    return policiesSchema.parse(JSON.parse(text)).items;
  };
  try {
    let policies = await list();
    if (!policies.some(isDenial)) {
      // Another gateway may make it in the same moment.
      await unlessStatus([409], cluster.ask({ method: 'POST', path, body: denial() }, signal));
      policies = await list();
    }
    if (!policies.some(isDenial))
      return `its network policy ${POLICY} does not deny everything: delete it, and it is made anew.`;
    const hole = policies.find((policy) => mayMatchJails(policy) && letsThrough(policy));
    return hole && `its network policy ${hole.metadata.name} lets something through to jails as well.`;
  } catch (error) {
    if (error instanceof ApiFault && error.status === 403)
      return `there is no network policy that shuts jails off, and the gateway may neither see nor make one (${POLICY}, see OPERATIONS.md).`;
    throw error;
  }
}

function denial(): object {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: POLICY },
    spec: {
      podSelector: { matchExpressions: [{ key: JAIL_LABEL, operator: 'Exists' }] },
      policyTypes: ['Ingress', 'Egress'],
    },
  };
}

function isDenial(policy: Policy): boolean {
  const { podSelector, policyTypes } = policy.spec;
  const { matchLabels, matchExpressions } = podSelector ?? {};
  const isForAll = (matchExpressions ?? []).every(
    ({ key, operator }) => key === JAIL_LABEL && operator === 'Exists',
  );
  const types = policyTypes ?? [];
  return (
    isForAll &&
    Object.keys(matchLabels ?? {}).length === 0 &&
    types.includes('Ingress') &&
    types.includes('Egress') &&
    !letsThrough(policy)
  );
}

function letsThrough({ spec }: Policy): boolean {
  return (spec.ingress ?? []).length > 0 || (spec.egress ?? []).length > 0;
}

/** Jails have two labels, both ours. What asks for another one, or for the lack of ours, is not about them. */
function mayMatchJails({ spec }: Policy): boolean {
  const { matchLabels, matchExpressions } = spec.podSelector ?? {};
  const isOurs = (key: string) => key.startsWith('millicent.');
  if (Object.keys(matchLabels ?? {}).some((key) => !isOurs(key))) return false;
  return (matchExpressions ?? []).every(({ key, operator }) =>
    operator === 'In' || operator === 'Exists' ? isOurs(key) : !isOurs(key) || operator === 'NotIn',
  );
}
