import { createHash } from 'node:crypto';

/**
 * Rendezvous hashing: of `workers` the one that `key` belongs to. Each key has an order of its own of all workers,
 * so that one that is lost leaves its keys to the others evenly, and every other key stays where it is.
 */
export function chooseOwner(key: string, workers: readonly number[]): number | undefined {
  let owner: number | undefined;
  let best = -1;
  for (const worker of workers) {
    const weight = createHash('sha256').update(`${worker} ${key}`).digest().readUIntBE(0, 6);
    if (weight > best) [owner, best] = [worker, weight];
  }
  return owner;
}
