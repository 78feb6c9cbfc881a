import { z } from 'zod';
import { ConfigError } from './config-error.ts';
import type { DockerConfig } from './docker.ts';
import { integer } from './fields.ts';
import type { KubernetesConfig } from './kubernetes.ts';

const MIB = 1024 * 1024;

/** Where hosted code runs, and how much of it at once. */
export const sandboxEnvironment = {
  SANDBOX: z.enum(['auto', 'bubblewrap', 'docker', 'kubernetes', 'none']).default('auto'),
  SANDBOX_WORK_DIR: z.string().optional(),
  SANDBOX_CONCURRENCY: integer(8, 1, 256),
  SANDBOX_QUEUE: integer(256, 0, 100_000),
  SANDBOX_POOL_MB: integer(256, 0, 65_536),
};

const environmentSchema = z.object(sandboxEnvironment);

export type SandboxConfig = {
  /** What `SANDBOX` chose; `auto` is decided here, by what else is configured and never by what happens to work. */
  backend:
    | { kind: 'bubblewrap' }
    | ({ kind: 'docker' } & DockerConfig)
    | ({ kind: 'kubernetes' } & KubernetesConfig)
    | { kind: 'none' };
  workDir: string | undefined;
  concurrencyMax: number;
  queueMax: number;
  /** What jails that wait for calls may hold together. */
  poolMemoryBytesMax: number;
};

const LOCAL_ENGINE: DockerConfig = {
  hosts: [{ kind: 'unix', socketPath: '/var/run/docker.sock' }],
  runtime: 'runc',
};

export function readSandbox(
  env: z.infer<typeof environmentSchema>,
  parts: { docker: DockerConfig | undefined; kubernetes: KubernetesConfig | undefined },
): SandboxConfig {
  return {
    backend: chooseBackend(env.SANDBOX, parts),
    workDir: env.SANDBOX_WORK_DIR,
    concurrencyMax: env.SANDBOX_CONCURRENCY,
    queueMax: env.SANDBOX_QUEUE,
    poolMemoryBytesMax: env.SANDBOX_POOL_MB * MIB,
  };
}

function chooseBackend(
  choice: z.infer<typeof environmentSchema>['SANDBOX'],
  { docker, kubernetes }: { docker: DockerConfig | undefined; kubernetes: KubernetesConfig | undefined },
): SandboxConfig['backend'] {
  switch (choice) {
    case 'none':
    case 'bubblewrap':
      return { kind: choice };
    case 'docker':
      return { kind: 'docker', ...(docker ?? LOCAL_ENGINE) };
    case 'kubernetes':
      if (kubernetes) return { kind: 'kubernetes', ...kubernetes };
      throw new ConfigError('SANDBOX=kubernetes: KUBERNETES_NAMESPACE must say where its pods are');
    case 'auto':
      if (docker && kubernetes) {
        throw new ConfigError(
          'DOCKER_HOSTS and KUBERNETES_NAMESPACE are both set: SANDBOX must say which is used',
        );
      }
      if (docker) return { kind: 'docker', ...docker };
      if (kubernetes) return { kind: 'kubernetes', ...kubernetes };
      return process.platform === 'linux' ? { kind: 'bubblewrap' } : { kind: 'docker', ...LOCAL_ENGINE };
    default:
      return choice satisfies never;
  }
}
