import { join, resolve } from 'node:path';
import { createLayers, type Layers } from '../catalog/index.ts';
import type { Config } from '../config.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Sql } from '../db/index.ts';
import { createBubblewrapBackend, defaultWorkDir } from '../execution/backends/bubblewrap/index.ts';
import { createNoBackend } from '../execution/backends/none.ts';
import {
  createCallTokens,
  createOwnership,
  createRemoteServers,
  type EndpointHealth,
} from '../execution/backends/remote-mcp/index.ts';
import { createBuilder } from '../execution/build/builder.ts';
import { createToolchain } from '../execution/build/toolchain.ts';
import { createEgress } from '../execution/egress/egress.ts';
import { type Backend, createExecution, type Execution } from '../execution/index.ts';
import { isPublicAddress } from '../execution/policy/public-address.ts';
import type { Builder, Ownership } from '../gateway/index.ts';
import type { Job } from '../jobs/index.ts';

export type WiredExecution = {
  execution: Execution;
  builder: Builder;
  ownership: Ownership;
  layers: Layers;
  /** The keys of the tokens that publishers' endpoints are shown. */
  jwks(): { keys: object[] };
  /** How publishers' own servers do, for `/ready`. */
  health(): Record<string, string>;
  jobs: readonly Job[];
  close(): Promise<void>;
};

export type ExecutionInput = {
  config: Config;
  sql: Sql;
  clock: Clock;
  log: Log;
  publicUrl: string;
  secrets: readonly Buffer[];
};

/** What runs publishers' servers: jails on this machine or others, and endpoints of their own. */
export async function wireExecution({
  config,
  sql,
  clock,
  log,
  publicUrl,
  secrets,
}: ExecutionInput): Promise<WiredExecution> {
  const { sandbox, build, remote } = config;
  const workDir = sandbox.workDir ?? defaultWorkDir(resolve(config.dataDir));
  const backend = await chooseBackend(config, { workDir, clock, log });
  const egress = createEgress({ log, workDir: join(workDir, 'egress') });
  // The indexes are the operator's choice, wherever their names lead; the hosts of tools are strangers' words.
  const buildEgress = createEgress({
    ...{ log, workDir: join(workDir, 'build-egress') },
    isAllowedAddress: build.allowsPrivateHosts ? () => true : isPublicAddress,
  });
  const tokens = createCallTokens({ secrets, issuer: publicUrl, clock });
  const servers = createRemoteServers({
    ...{ tokens, clock, log },
    ...{ allowLoopback: remote.allowLoopback, connectionsMax: remote.connectionsMax },
  });
  const ownership = createOwnership({
    secrets,
    allowLoopback: remote.allowLoopback,
    ownUrl: remote.allowLoopback ? undefined : publicUrl,
  });
  const layers = createLayers({ sql, clock });
  const execution = createExecution({
    ...{ backend, remote: servers, egress, clock, log },
    ...{ concurrencyMax: sandbox.concurrencyMax, queueMax: sandbox.queueMax },
    poolMemoryBytesMax: sandbox.poolMemoryBytesMax,
  });
  return {
    ...{ execution, layers },
    builder: createBuilder({
      ...{ backend, egress: buildEgress, shelf: layers, log },
      toolchain: createToolchain({ extraCa: build.extraCa }),
      indexes: build,
    }),
    ownership,
    jwks: () => tokens.jwks(),
    health: () => describeHealth(servers.health()),
    jobs: [{ name: 'sweep-layers', everyMs: DAY_MS, run: () => sweepLayers(layers, clock) }],
    async close() {
      await execution.close();
      await Promise.all([egress.close(), buildEgress.close(), ownership.close()]);
    },
  };
}

/** Only the backend that is used is loaded: the SDKs of the others take longer than everything else at a start. */
async function chooseBackend(
  { sandbox }: Pick<Config, 'sandbox'>,
  parts: { workDir: string; clock: Clock; log: Log },
): Promise<Backend> {
  const { backend } = sandbox;
  switch (backend.kind) {
    case 'none':
      return createNoBackend('The sandbox is switched off: SANDBOX=none.');
    case 'bubblewrap':
      return createBubblewrapBackend(parts);
    case 'docker': {
      const { createDockerBackend } = await import('../execution/backends/docker/index.ts');
      return createDockerBackend({ ...parts, ...backend });
    }
    case 'kubernetes': {
      const { createKubernetesBackend } = await import('../execution/backends/kubernetes/index.ts');
      return createKubernetesBackend({ ...parts, ...backend });
    }
    default:
      return backend satisfies never;
  }
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** A layer that no version names may be of a publication under way: that takes minutes, and a day is plenty. */
async function sweepLayers(layers: Layers, clock: Clock): Promise<void> {
  await layers.sweep(new Date(clock.now().getTime() - DAY_MS));
}

const NAMED_MAX = 5;

/** Endpoints that are not called for now; nothing to tell while all of them answer. */
function describeHealth(endpoints: Record<string, EndpointHealth>): Record<string, string> {
  const down = Object.entries(endpoints).flatMap(([url, { state }]) =>
    state === 'closed' ? [] : [new URL(url).host],
  );
  if (down.length === 0) return {};
  const rest = down.length > NAMED_MAX ? `, and ${down.length - NAMED_MAX} more` : '';
  return { endpoints: `not answering: ${down.slice(0, NAMED_MAX).join(', ')}${rest}` };
}
