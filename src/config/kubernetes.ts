import { z } from 'zod';
import { ConfigError } from './config-error.ts';

/** A cluster whose pods are jails. */
export const kubernetesEnvironment = {
  KUBERNETES_NAMESPACE: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a namespace (RFC 1123 label)')
    .optional(),
  KUBERNETES_IMAGE: z
    .string()
    .regex(/^[a-z0-9.-]+(?::\d+)?(?:\/[a-z0-9._-]+)+$/, 'must be a repository without a tag')
    .optional(),
  KUBERNETES_ROOTS: z.string().optional(),
  KUBERNETES_CONFIG: z.string().optional(),
  KUBERNETES_RUNTIME_CLASS: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/, 'must be the name of a RuntimeClass')
    .optional(),
  KUBERNETES_SECCOMP: z
    .string()
    .regex(/^(?!.*\.\.)[\w.-]+(?:\/[\w.-]+)*$/, 'must be a path below the seccomp folder of the nodes')
    .optional(),
};

const environmentSchema = z.object(kubernetesEnvironment);

export type KubernetesConfig = {
  namespace: string;
  /** Path of a kubeconfig; undefined inside a pod, whose service account is then used. */
  kubeconfigPath: string | undefined;
  /** Repository of the root images, without a tag: roots are named by the tags `python-<hash>` and `node-<hash>`. */
  image: string;
  /** Path of the list of those roots. */
  rootsPath: string;
  runtimeClass: string;
  /** Name of the seccomp profile on the nodes; undefined for the runtime's own. */
  seccompProfile: string | undefined;
};

const DEFAULT_RUNTIME_CLASS = 'gvisor';
const NEEDED = ['KUBERNETES_NAMESPACE', 'KUBERNETES_IMAGE', 'KUBERNETES_ROOTS'] as const;

/** Undefined when nothing is set; what is set by half is a `ConfigError` that names what is missing. */
export function readKubernetes(env: z.infer<typeof environmentSchema>): KubernetesConfig | undefined {
  const set = Object.entries(env).find(
    ([name, value]) => value !== undefined && name in kubernetesEnvironment,
  );
  if (set === undefined) return undefined;
  const {
    KUBERNETES_NAMESPACE: namespace,
    KUBERNETES_IMAGE: image,
    KUBERNETES_ROOTS: rootsPath,
    KUBERNETES_RUNTIME_CLASS: runtimeClass = DEFAULT_RUNTIME_CLASS,
    KUBERNETES_SECCOMP: seccompProfile,
  } = env;
  if (namespace === undefined || image === undefined || rootsPath === undefined) {
    const missing = NEEDED.filter((name) => env[name] === undefined);
    throw new ConfigError(`${set[0]} is set: ${missing.join(', ')} must be set too`);
  }
  return { namespace, image, rootsPath, kubeconfigPath: env.KUBERNETES_CONFIG, runtimeClass, seccompProfile };
}
