import { randomBytes } from 'node:crypto';
import type { Exit, Jail, JailSpec, Runtime } from '../../backend.ts';
import { rootKindOf } from '../../policy/roots/build-root.ts';
import type { KubernetesBackendDeps } from './backend.ts';
import { startJail } from './jail.ts';
import { podOf } from './pod-spec.ts';
import type { Prepared } from './prepare.ts';
import { unavailable } from './unavailable.ts';

/** Starts the jails of one gateway, and knows them. */
export type Opener = {
  /** Of this gateway, new with each start. */
  readonly ownerId: string;
  /** Names of pods, from before they are created until nothing is left of them. */
  readonly inUse: ReadonlySet<string>;
  open(parts: Omit<Prepared, 'lease'>, order: JailOrder, signal: AbortSignal): Promise<Jail>;
  /** Waits for those that just start, and ends all. */
  close(): Promise<void>;
};

export type JailOrder = { spec: JailSpec; startTimeoutMs: number };

export function createOpener(deps: KubernetesBackendDeps): Opener {
  const { namespace, log } = deps;
  const ownerId = randomBytes(8).toString('hex');
  const inUse = new Set<string>();
  const jails = new Map<string, Jail>();
  const openings = new Set<Promise<unknown>>();
  const start = async (
    parts: Omit<Prepared, 'lease'>,
    { spec, startTimeoutMs }: JailOrder,
    signal: AbortSignal,
  ): Promise<Jail> => {
    const root = parts.roots.choose(rootKindOf(spec.runtime), spec.rootSha256);
    if (root === undefined) throw unavailable(`The sandbox runs no ${NAMES[spec.runtime]}.`, undefined, 60);
    const name = `millicent-${ownerId}-${randomBytes(8).toString('hex')}`;
    inUse.add(name);
    const onGone = (exit: Exit) => {
      jails.delete(name);
      inUse.delete(name);
      if (exit.isBackendFailure) log.warn({ jail: name }, 'a jail was lost');
    };
    const pod = podOf({ ...deps, name, ownerId, repository: deps.image, root, spec });
    try {
      const jail = await startJail({ ...parts, namespace, name, pod, startTimeoutMs, log, onGone }, signal);
      if (inUse.has(name)) jails.set(name, jail);
      return jail;
    } catch (error) {
      inUse.delete(name);
      throw error;
    }
  };
  return {
    ...{ ownerId, inUse },
    open(parts, order, signal) {
      const opening = start(parts, order, signal);
      openings.add(opening);
      const forget = () => openings.delete(opening);
      opening.then(forget, forget);
      return opening;
    },
    async close() {
      await Promise.allSettled(openings);
      await Promise.allSettled([...jails.values()].map((jail) => jail.kill('shutdown')));
    },
  };
}

const NAMES: Record<Runtime, string> = { python: 'Python', node: 'Node', elf: 'static binaries' };
