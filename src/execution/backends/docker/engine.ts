import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import Docker from 'dockerode';
import { z } from 'zod';
import { timeLimit } from '../../../core/time-limit.ts';

/** Where an engine listens. The certificates are PEM; both sides have to show one. */
export type DockerHost =
  | { kind: 'unix'; socketPath: string }
  | { kind: 'tls'; host: string; port: number; ca: string; cert: string; key: string };

/** One engine of the Engine API (docs.docker.com/reference/api/engine). */
export type Engine = {
  /** For people. */
  readonly name: string;
  /** Whether paths of this machine mean the same to it. */
  readonly isLocal: boolean;
  readonly docker: Docker;
  /** Ends idle connections; others end with what uses them. */
  close(): void;
};

export function openEngine(host: DockerHost): Engine {
  const { options, agent } = host.kind === 'unix' ? reachSocket(host) : reachByTls(host);
  return {
    name: host.kind === 'unix' ? `unix://${host.socketPath}` : `tcp://${host.host}:${host.port}`,
    isLocal: host.kind === 'unix',
    docker: new Docker(options),
    close: () => agent.destroy(),
  };
}

/** One request to an engine; starting a container is the slowest of them, and a busy host is not a dead one. */
const REQUEST_TIMEOUT_MS = 30_000;

/** What bounds a request that somebody waits for. */
export function requestLimit(signal: AbortSignal, ms: number = REQUEST_TIMEOUT_MS): AbortSignal {
  return timeLimit(signal, ms);
}

/** What bounds a request that has to be made even if nobody waits any more: cleaning up. */
export function cleanupLimit(ms: number = REQUEST_TIMEOUT_MS): AbortSignal {
  return timeLimit(new AbortController().signal, ms);
}

/** What an engine says of itself (Engine API, "Get system information"); to be parsed. */
export function readInfo({ docker }: Pick<Engine, 'docker'>, signal: AbortSignal): Promise<unknown> {
  // dockerode 5 takes options here, which the types of version 4 do not know.
  const info = docker.info.bind(docker) as (options: { abortSignal: AbortSignal }) => Promise<unknown>;
  return info({ abortSignal: signal });
}

const timeSchema = z.object({ SystemTime: z.string() });

/** Milliseconds since 1970 by the engine's own clock, which need not agree with ours. */
export async function readTime(engine: Pick<Engine, 'docker'>, signal: AbortSignal): Promise<number> {
  return Date.parse(timeSchema.parse(await readInfo(engine, signal)).SystemTime);
}

/** The HTTP status of an engine's refusal; undefined when there was no answer at all. */
export function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return undefined;
  return typeof error.statusCode === 'number' ? error.statusCode : undefined;
}

/** For what somebody else may have done already: a container that is gone cannot be removed. */
export async function unlessStatus(statuses: readonly number[], request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    const status = statusOf(error);
    if (status === undefined || !statuses.includes(status)) throw error;
  }
}

type Reach = { options: Docker.DockerOptions & { agent: HttpAgent }; agent: HttpAgent };

/** dockerode fills what is left out from its own reading of DOCKER_HOST, so `host` is said to be none. */
function reachSocket({ socketPath }: Extract<DockerHost, { kind: 'unix' }>): Reach {
  const agent = new HttpAgent({ keepAlive: true });
  return { options: { socketPath, host: undefined, protocol: 'http', agent }, agent };
}

function reachByTls({ host, port, ca, cert, key }: Extract<DockerHost, { kind: 'tls' }>): Reach {
  const agent = new HttpsAgent({ keepAlive: true, ca, cert, key, minVersion: 'TLSv1.2' });
  return { options: { host, port, protocol: 'https', ca, cert, key, agent }, agent };
}
