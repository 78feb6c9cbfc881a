import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigError } from './config-error.ts';

/** Engines that run jails. Those reached by tcp need all three certificates, the same for each. */
export const dockerEnvironment = {
  DOCKER_HOSTS: z.string().optional(),
  DOCKER_TLS_CA: z.string().optional(),
  DOCKER_TLS_CERT: z.string().optional(),
  DOCKER_TLS_KEY: z.string().optional(),
  DOCKER_RUNTIME: z.enum(['runc', 'runsc']).optional(),
};

const environmentSchema = z.object(dockerEnvironment);
type DockerEnvironment = z.infer<typeof environmentSchema>;

export type DockerHostConfig =
  | { kind: 'unix'; socketPath: string }
  | { kind: 'tls'; host: string; port: number; ca: string; cert: string; key: string };

export type DockerConfig = { hosts: DockerHostConfig[]; runtime: 'runc' | 'runsc' };

const OTHER_VARIABLE = /^DOCKER_(?:TLS_|RUNTIME$)/;
const TLS_PORT = 2376;
const TLS_NAMES = ['DOCKER_TLS_CA', 'DOCKER_TLS_CERT', 'DOCKER_TLS_KEY'] as const;

/** Undefined when nothing is set; what is set by half is a `ConfigError` that names what is missing. */
export function readDocker(env: DockerEnvironment): DockerConfig | undefined {
  const { DOCKER_HOSTS: list } = env;
  if (list === undefined) {
    const stray = Object.entries(env).find(
      ([name, value]) => OTHER_VARIABLE.test(name) && value !== undefined,
    );
    if (stray === undefined) return undefined;
    throw new ConfigError(`${stray[0]} is set: DOCKER_HOSTS must say which engines are used`);
  }
  const addresses = [...new Set(list.split(',').map((address) => address.trim()))].filter(Boolean);
  if (addresses.length === 0) throw new ConfigError('DOCKER_HOSTS names no engine');
  const places = addresses.map(parseAddress);
  if (places.every(({ kind }) => kind === 'unix')) refuseStrayCertificates(env);
  return {
    hosts: places.map((place) => (place.kind === 'unix' ? place : { ...place, ...readCertificates(env) })),
    runtime: env.DOCKER_RUNTIME ?? 'runc',
  };
}

type Place = { kind: 'unix'; socketPath: string } | { kind: 'tls'; host: string; port: number };

function parseAddress(address: string): Place {
  const socketPath = /^unix:\/\/(\/.+)$/.exec(address)?.[1];
  if (socketPath !== undefined) return { kind: 'unix', socketPath };
  const form = 'must be unix:///path/of/a/socket or tcp://host:2376';
  if (!URL.canParse(address)) throw new ConfigError(`DOCKER_HOSTS: "${address}" ${form}`);
  const { protocol, hostname, port, pathname, username } = new URL(address);
  if (protocol === 'ssh:') {
    throw new ConfigError('DOCKER_HOSTS: engines are not reached by ssh; use tcp:// with certificates');
  }
  if (protocol !== 'tcp:' || hostname === '' || username !== '' || !/^\/?$/.test(pathname)) {
    throw new ConfigError(`DOCKER_HOSTS: "${address}" ${form}`);
  }
  return { kind: 'tls', host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port) || TLS_PORT };
}

function refuseStrayCertificates(env: DockerEnvironment): void {
  const stray = TLS_NAMES.find((name) => env[name] !== undefined);
  if (stray !== undefined) throw new ConfigError(`${stray} is set, but DOCKER_HOSTS names no tcp:// engine`);
}

/** An engine without them would obey whoever reaches its port, and is not used. */
function readCertificates(env: DockerEnvironment): { ca: string; cert: string; key: string } {
  const missing = TLS_NAMES.filter((name) => env[name] === undefined);
  if (missing.length > 0) {
    throw new ConfigError(`DOCKER_HOSTS names an engine by tcp://: ${missing.join(', ')} must be set too`);
  }
  const [ca = '', cert = '', key = ''] = TLS_NAMES.map((name) => readPem(name, env[name] ?? ''));
  return { ca, cert, key };
}

function readPem(name: string, path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.includes('-----BEGIN ')) return text;
  } catch (cause) {
    throw new ConfigError(`${name} is not the path of a file that can be read`, { cause });
  }
  throw new ConfigError(`${name} is not the path of a PEM file`);
}
