import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { readHostPort } from '../core/host-port.ts';
import { ConfigError } from './config-error.ts';

const NPM_REGISTRY = 'https://registry.npmjs.org';
const PYPI_INDEX = 'https://pypi.org/simple';
const EXTRA_HOSTS = 'files.pythonhosted.org';

/** An index: builds send nothing secret, and their log goes to publishers, so no password may stand in it. */
const index = (fallback: string) =>
  z
    .url({ protocol: /^https$/ })
    .default(fallback)
    .transform((text) => text.replace(/\/+$/, ''))
    .refine((text) => {
      const { username, password, search, hash } = new URL(text);
      return username + password + search + hash === '';
    }, 'must be an https address without user, password, query or fragment');

/** Where publishers' dependencies are installed from. */
export const buildEnvironment = {
  BUILD_NPM_REGISTRY: index(NPM_REGISTRY),
  BUILD_PYPI_INDEX: index(PYPI_INDEX),
  BUILD_EXTRA_HOSTS: z
    .string()
    .default(EXTRA_HOSTS)
    .transform((list) =>
      list
        .split(',')
        .map((host) => host.trim())
        .filter((host) => host !== ''),
    )
    .refine(
      (hosts) => hosts.every((host) => readHostPort(host) !== undefined),
      'must be a list of exact host names, each "name" or "name:port", as in "files.pythonhosted.org"',
    ),
  BUILD_CA: z.string().optional(),
  NODE_EXTRA_CA_CERTS: z.string().optional(),
  BUILD_PRIVATE_HOSTS: z.enum(['yes', 'no']).default('yes'),
};

const environmentSchema = z.object(buildEnvironment);
type BuildEnvironment = z.infer<typeof environmentSchema>;

export type BuildConfig = {
  npmRegistry: string;
  pypiIndex: string;
  /** Hosts besides those of the two indexes. */
  extraHosts: readonly string[];
  /** PEM of the authority that signed an operator's own index. */
  extraCa: string | undefined;
  /** Whether these hosts may be in the operator's own network. */
  allowsPrivateHosts: boolean;
};

export function readBuild(env: BuildEnvironment): BuildConfig {
  for (const name of ['BUILD_NPM_REGISTRY', 'BUILD_PYPI_INDEX'] as const) {
    if (readHostPort(new URL(env[name]).hostname) === undefined) {
      throw new ConfigError(`${name} must name its host: builds refuse addresses`);
    }
  }
  return {
    npmRegistry: env.BUILD_NPM_REGISTRY,
    pypiIndex: env.BUILD_PYPI_INDEX,
    extraHosts: env.BUILD_EXTRA_HOSTS,
    extraCa: readExtraCa(env),
    allowsPrivateHosts: env.BUILD_PRIVATE_HOSTS === 'yes',
  };
}

/** What Node itself is told to believe besides, builds believe too, unless they are told otherwise. */
function readExtraCa({ BUILD_CA, NODE_EXTRA_CA_CERTS }: BuildEnvironment): string | undefined {
  const value = BUILD_CA ?? NODE_EXTRA_CA_CERTS;
  return value === undefined ? undefined : readCa(value);
}

/** PEM text, or the path of a file with it. */
function readCa(value: string): string {
  if (value.includes('BEGIN CERTIFICATE')) return value.replaceAll('\\n', '\n');
  try {
    return readFileSync(value, 'utf8');
  } catch (error) {
    throw new ConfigError('BUILD_CA must be a PEM certificate, or the path of a file with one', {
      cause: error,
    });
  }
}
