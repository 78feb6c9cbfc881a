import type { Log } from '../../core/log.ts';
import { Problem } from '../../core/problem.ts';
import type { Backend } from '../backend.ts';
import type { EgressInput, EgressProxies } from '../egress/egress.ts';
import type { LayerShelf, StoredLayer } from './layer-shelf.ts';
import {
  type BuildIndexes,
  type BuildInput,
  type BuildPlan,
  hashRecipe,
  hostsOf,
  planBuild,
} from './plan.ts';
import { type BuildBounds, runBuild } from './run-build.ts';
import { createSharedWork } from './shared-work.ts';
import type { Installer, Toolchain } from './toolchain.ts';

export type BuilderDeps = {
  backend: Pick<Backend, 'status' | 'acquire'>;
  egress: Pick<EgressProxies, 'openEgress'>;
  shelf: LayerShelf;
  toolchain: Toolchain;
  indexes: BuildIndexes;
  log: Log;
  /** The platform's, unless a test wants smaller ones. */
  bounds?: Partial<BuildBounds>;
};

/** What a build of dependencies came to; `log` is for the publisher alone. */
export type Build =
  /** The code declares none. */
  | { kind: 'none' }
  | { kind: 'built'; layerSha256: string; bytes: number; log: string }
  | { kind: 'refused'; detail: string; log: string };

/** Installs what a publisher's code depends on, once, when a version is published. */
export type Builder = {
  /** Throws a `Problem('unavailable')` when nothing can be built now. */
  build(input: BuildInput & { publisherId?: string }, signal: AbortSignal): Promise<Build>;
};

const MIB = 1024 * 1024;

const BUILD_BOUNDS: BuildBounds = {
  timeoutMs: 5 * 60_000,
  filesMax: 50_000,
  bytesMax: 256 * MIB,
  // npm fetches and unpacks many packages at once: what a tool may have open is not enough for it.
  limits: { memoryBytesMax: 1024 * MIB, pidsMax: 64, tmpBytesMax: 640 * MIB, openFilesMax: 4_096 },
};
const EGRESS_LIMITS: NonNullable<EgressInput['limits']> = { bytesMax: 512 * MIB, connectionsMax: 64 };
/** Each may hold what it installs in the gateway's memory. */
const BUILDS_AT_ONCE = 1;
const BUILDS_WAITING_MAX = 8;
/** Of the places to wait: others shall find some. */
const BUILDS_OF_PUBLISHER_MAX = 2;
const REUSED = 'The same dependencies were installed before; their layer is used again.\n';

export function createBuilder(deps: BuilderDeps): Builder {
  const bounds = { ...BUILD_BOUNDS, ...deps.bounds };
  const work = createSharedWork<Build>({ atOnceMax: BUILDS_AT_ONCE, waitingMax: BUILDS_WAITING_MAX });
  const inTurn = createTurns(BUILDS_OF_PUBLISHER_MAX);
  return {
    async build(input, signal) {
      const planned = tryPlan(input, deps.indexes);
      if (planned.kind !== 'planned') return planned;
      const { plan } = planned;
      const place = await findPlace(deps, plan);
      if (place.kind === 'refused') return place;
      const { recipeHash, installer } = place;
      const known = await deps.shelf.findByRecipe(recipeHash);
      if (known !== undefined) return toBuilt(known, REUSED);
      const install = async (limit: AbortSignal): Promise<Build> => {
        // Another gateway may have been quicker while this build waited for its turn.
        const meanwhile = await deps.shelf.findByRecipe(recipeHash);
        if (meanwhile !== undefined) return toBuilt(meanwhile, REUSED);
        const openGate = () =>
          deps.egress.openEgress({ hosts: hostsOf(plan, deps.indexes), limits: EGRESS_LIMITS });
        const run = await runBuild(deps, { plan, installer, bounds, openGate }, limit);
        if (run.kind === 'refused') return run;
        return toBuilt(await deps.shelf.keep({ recipeHash, archive: run.archive }), run.log);
      };
      return inTurn(input.publisherId, () => work.run(recipeHash, signal, install));
    },
  };
}

/** Refuses a publisher who has so many under way already. */
function createTurns(countMax: number) {
  const counts = new Map<string, number>();
  return async <T>(publisherId: string | undefined, work: () => Promise<T>): Promise<T> => {
    if (publisherId === undefined) return work();
    const count = counts.get(publisherId) ?? 0;
    if (count >= countMax) throw tooMany(countMax);
    counts.set(publisherId, count + 1);
    try {
      return await work();
    } finally {
      const rest = (counts.get(publisherId) ?? 1) - 1;
      if (rest > 0) counts.set(publisherId, rest);
      else counts.delete(publisherId);
    }
  };
}

function tooMany(countMax: number): Problem {
  return new Problem('too-many-requests', {
    detail: `The dependencies of ${countMax} of your versions are being installed; publish this one after them.`,
    retryAfterSeconds: 30,
    isUncharged: true,
  });
}

type Planned = { kind: 'planned'; plan: BuildPlan } | Extract<Build, { kind: 'none' | 'refused' }>;

function tryPlan(input: BuildInput, indexes: BuildIndexes): Planned {
  try {
    const plan = planBuild(input, indexes);
    return plan === undefined ? { kind: 'none' } : { kind: 'planned', plan };
  } catch (error) {
    if (!(error instanceof Problem) || error.type !== 'invalid-code') throw error;
    return { kind: 'refused', detail: error.options.detail, log: '' };
  }
}

type Place =
  | { kind: 'found'; recipeHash: string; installer: Installer }
  | Extract<Build, { kind: 'refused' }>;

/** What the build will run on, and so what it will be called. */
async function findPlace({ backend, toolchain }: BuilderDeps, plan: BuildPlan): Promise<Place> {
  const status = await backend.status();
  if (status.kind === 'unavailable') {
    throw new Problem('unavailable', { detail: status.detail, retryAfterSeconds: 60 });
  }
  const root = status.capabilities.roots[plan.runtime];
  if (status.capabilities.egress !== 'proxy' || root === undefined) {
    const lacks = root === undefined ? `runs no ${plan.runtime}` : 'has no way to a package index';
    const detail = `This gateway's sandbox ${lacks}, so dependencies cannot be installed here; ship what the code needs among its files.`;
    return { kind: 'refused', detail, log: '' };
  }
  const installer = await (plan.runtime === 'python' ? toolchain.pip() : toolchain.npm());
  const made = { rootSha256: root.sha256, installerSha256: installer.sha256 };
  return { kind: 'found', recipeHash: hashRecipe(plan, made), installer };
}

function toBuilt({ sha256, bytes }: StoredLayer, log: string): Build {
  return { kind: 'built', layerSha256: sha256, bytes, log };
}
