/** A sampled profile as V8 writes it (Chrome DevTools Protocol, `Profiler.Profile`). */
export type Profile = {
  nodes: readonly ProfileNode[];
  samples?: readonly number[] | undefined;
  /** Microseconds, one for each sample: how long after the one before. */
  timeDeltas?: readonly number[] | undefined;
};
export type ProfileNode = {
  id: number;
  callFrame: { functionName: string; url: string };
  children?: readonly number[] | undefined;
};

/** Microseconds of the main thread. */
export type Attribution = { busy: number; crypto: number };

/** Node's own: hashes, MACs, signatures, random bytes. */
const NODE_CRYPTO = /^node:(?:internal\/)?crypto(?:\/|$)/;
/** Packages that do nothing else; whatever of them is on the stack is crypto. */
const PACKAGES = /\/node_modules\/(?:jose|@noble\/(?:curves|hashes|ciphers)|secp256k1|tiny-secp256k1)\//;

/**
 * How much of a profile is crypto. A sample counts for the function it was taken in and for what that function was
 * called by: native code has no address of its own and stands below the function of Node that called it. Samples in
 * which the thread waited count for nothing.
 */
export function attribute(profile: Profile): Attribution {
  const { nodes, samples = [], timeDeltas = [] } = profile;
  const isCrypto = findCrypto(nodes);
  const idle = new Set(nodes.filter(isIdle).map(({ id }) => id));
  let [busy, crypto] = [0, 0];
  for (const [index, id] of samples.entries()) {
    // What lies between two samples belongs to the first: it is what ran when the clock was read.
    const micros = Math.max(0, timeDeltas[index + 1] ?? 0);
    if (idle.has(id)) continue;
    busy += micros;
    if (isCrypto.has(id)) crypto += micros;
  }
  return { busy, crypto };
}

function isIdle({ callFrame }: ProfileNode): boolean {
  return callFrame.url === '' && callFrame.functionName === '(idle)';
}

/** The nodes of crypto functions and everything that these call. */
function findCrypto(nodes: readonly ProfileNode[]): Set<number> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const found = new Set<number>();
  const open = nodes.filter(({ callFrame: { url } }) => NODE_CRYPTO.test(url) || PACKAGES.test(url));
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (found.has(node.id)) continue;
    found.add(node.id);
    for (const child of node.children ?? []) {
      const below = byId.get(child);
      if (below) open.push(below);
    }
  }
  return found;
}
