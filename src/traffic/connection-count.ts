import { networkOf } from './network.ts';

/** Open connections, in all and of each address. */
export type ConnectionCount = {
  /** Counts one in; false when it is one too many, of its address or in all. */
  enter(address: string): 'entered' | 'full' | 'address-full';
  leave(address: string): void;
  size(): number;
};

export type ConnectionBounds = {
  connectionsMax: number;
  connectionsPerAddressMax: number;
  /** A proxy of ours speaks for many, and is bounded by the whole alone. */
  isTrustedProxy(address: string): boolean;
};

export function createConnectionCount(bounds: ConnectionBounds): ConnectionCount {
  const { connectionsMax, connectionsPerAddressMax, isTrustedProxy } = bounds;
  // Never longer than there are connections.
  const counts = new Map<string, number>();
  let total = 0;
  return {
    enter(address) {
      if (total >= connectionsMax) return 'full';
      const network = networkOf(address);
      const count = counts.get(network) ?? 0;
      if (count >= connectionsPerAddressMax && !isTrustedProxy(network.includes('/') ? address : network))
        return 'address-full';
      counts.set(network, count + 1);
      total += 1;
      return 'entered';
    },
    leave(address) {
      const network = networkOf(address);
      const count = counts.get(network) ?? 0;
      if (count > 1) counts.set(network, count - 1);
      else counts.delete(network);
      total -= 1;
    },
    size: () => total,
  };
}
