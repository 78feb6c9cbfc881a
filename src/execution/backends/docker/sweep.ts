import { cleanupLimit, type Engine, readTime } from './engine.ts';
import { removeContainer } from './jail.ts';
import { LEASE_LABEL, OWNER_LABEL } from './labels.ts';

export type SweepInput = {
  engine: Engine;
  ownerId: string;
  /** Names of containers of ours that are in use. */
  inUse: ReadonlySet<string>;
};

/** A gateway that just starts may have created its lease and not started it yet. */
const STARTING_MS = 60_000;

/**
 * Removes the containers of gateways that are gone, wherever they ran: each gateway holds the stdin of a
 * container, its lease, which ends when that connection does. Answers how many it removed.
 */
export async function sweepEngine({ engine, ownerId, inUse }: SweepInput): Promise<number> {
  const { docker } = engine;
  const [containers, now] = await Promise.all([
    docker.listContainers({ all: true, filters: { label: [OWNER_LABEL] }, abortSignal: cleanupLimit() }),
    readTime(engine, cleanupLimit()),
  ]);
  const living = new Set(
    containers
      .filter(({ State, Created }) => {
        const isStarting = State === 'created' && now - Created * 1000 < STARTING_MS;
        return State === 'running' || isStarting;
      })
      .flatMap(({ Labels }) => Labels[LEASE_LABEL] ?? []),
  );
  const left = containers.filter(({ Labels, Names }) => {
    const owner = Labels[OWNER_LABEL] ?? '';
    if (owner !== ownerId) return !living.has(owner);
    return !Names.some((name) => inUse.has(name.replace(/^\//, '')));
  });
  const removals = await Promise.allSettled(left.map(({ Id }) => removeContainer(docker.getContainer(Id))));
  return removals.filter(({ status }) => status === 'fulfilled').length;
}
