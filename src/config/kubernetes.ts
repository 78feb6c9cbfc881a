import { z } from 'zod';
import { ConfigError } from './config-error.ts';

/** A cluster whose pods are jails. */
export const kubernetesEnvironment = {
  KUBERNETES_NAMESPACE: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a namespace (RFC 1123 label)')
    .optional(),
  KUBERNETES_CONFIG: z.string().optional(),
  KUBERNETES_IMAGE: z.string().optional(),
  KUBERNETES_RUNTIME_CLASS: z.string().optional(),
};

const environmentSchema = z.object(kubernetesEnvironment);

export type KubernetesConfig = {
  namespace: string;
  /** Path of a kubeconfig; undefined inside a pod, whose service account is then used. */
  kubeconfigPath: string | undefined;
  /** Repository of the root images, without a tag: roots are named by the tags `python-<hash>` and `node-<hash>`. */
  image: string;
  runtimeClass: string;
};

const DEFAULT_RUNTIME_CLASS = 'gvisor';

/** Undefined when nothing is set; what is set by half is a `ConfigError` that names what is missing. */
export function readKubernetes(env: z.infer<typeof environmentSchema>): KubernetesConfig | undefined {
  const { KUBERNETES_NAMESPACE: namespace, KUBERNETES_IMAGE: image } = env;
  if (namespace === undefined && image === undefined) {
    const stray = Object.entries(env).find(
      ([name, value]) =>
        name.startsWith('KUBERNETES_') && value !== undefined && name in kubernetesEnvironment,
    );
    if (stray === undefined) return undefined;
    throw new ConfigError(`${stray[0]} is set: KUBERNETES_NAMESPACE and KUBERNETES_IMAGE must be set too`);
  }
  if (namespace === undefined)
    throw new ConfigError('KUBERNETES_IMAGE is set: KUBERNETES_NAMESPACE must be set too');
  if (image === undefined)
    throw new ConfigError('KUBERNETES_NAMESPACE is set: KUBERNETES_IMAGE must be set too');
  return {
    ...{ namespace, image, kubeconfigPath: env.KUBERNETES_CONFIG },
    runtimeClass: env.KUBERNETES_RUNTIME_CLASS ?? DEFAULT_RUNTIME_CLASS,
  };
}
