import { isIPv6 } from 'node:net';
import type { Clock } from '../../../core/clock.ts';

export type MintLimit = {
  /** Takes one mint of this minute; false when there is none left. */
  take(address: string | undefined): boolean;
  /** Whether there is one, without taking it. */
  has(address: string | undefined): boolean;
};

const WINDOW_MS = 60_000;
const NOWHERE = 'unknown';

/**
 * How many invoices a minute may be minted: each costs the node work and the database a row, and strangers ask
 * for them. Callers without an address share one allowance.
 */
export function createMintLimit(deps: { clock: Clock; perAddress: number; total: number }): MintLimit {
  let window = 0;
  let taken = 0;
  // No larger than `total`: who is refused in all is not counted.
  let takenBy = new Map<string, number>();
  /** How many of this minute a caller has had; undefined when it gets no more. */
  const count = (key: string) => {
    const current = Math.floor(deps.clock.now().getTime() / WINDOW_MS);
    if (current !== window) [window, taken, takenBy] = [current, 0, new Map()];
    const had = takenBy.get(key) ?? 0;
    return taken >= deps.total || had >= deps.perAddress ? undefined : had;
  };
  return {
    has: (address) => count(networkOf(address)) !== undefined,
    take(address) {
      const key = networkOf(address);
      const had = count(key);
      if (had === undefined) return false;
      taken += 1;
      takenBy.set(key, had + 1);
      return true;
    },
  };
}

/** A household has 2^64 IPv6 addresses: they count as one. */
function networkOf(address: string | undefined): string {
  if (address === undefined) return NOWHERE;
  if (!isIPv6(address)) return address;
  const [head = '', tail = ''] = address.split('%', 1).join('').split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === '' ? [] : tail.split(':');
  const zeros = address.includes('::')
    ? Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0')
    : [];
  return [...front, ...zeros, ...back]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
