import type { Jail, JailSpec, Runtime } from '../backend.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import { createDemand, type Demand } from './demand.ts';

/** Jails that differ in nothing that shows before they have code. */
export type Kind = {
  readonly key: string;
  readonly spec: JailSpec;
  /** What one of them holds while it waits. */
  readonly memoryBytes: number;
  /** Waits even when nobody comes. */
  isStanding: boolean;
  demand: Demand;
  ready: Jail[];
  starting: Set<Promise<Jail>>;
  /** How long the last one took to start. */
  refillSeconds: number;
  failures: number;
  /** Not before this is another one started, because the last ones failed. */
  retryAt: number;
};

/** The kinds of jails that wait or could. */
export type Kinds = {
  of(spec: JailSpec): Kind;
  /** Has jails of this runtime with the default limits wait from now on; whether that is new. */
  stand(runtime: Runtime): boolean;
  has(kind: Kind): boolean;
  all(): Kind[];
  /** Looks back over `seconds`; jails that nobody needs any more are discarded. */
  adapt(seconds: number): void;
  /** The kind that lacks most, of those that may be tried. */
  neediest(now: number): Kind | undefined;
  /** Whether one more of this kind fits; a kind that nobody uses makes way for it. */
  makeRoom(kind: Kind, memoryBytesMax: number): boolean;
  memoryBytes(): number;
};

const MIB = 1024 * 1024;
/** What a waiting jail holds of its own, as its control group counts it, and what the kernel keeps for it. */
const WAITING_BYTES: Record<Runtime, number> = { python: 16 * MIB, elf: 16 * MIB, node: 24 * MIB };
/** How many wait of each default kind when nobody comes. */
const STANDING = 2;
/** A kind that nobody used for so many looks back is given up. */
const IDLE_LOOKS = 12;
const KINDS_MAX = 64;

export function createKinds(discard: (jail: Jail) => void): Kinds {
  const kinds = new Map<string, Kind>();
  const forget = (kind: Kind) => {
    kinds.delete(kind.key);
    kind.ready.splice(0).forEach(discard);
  };
  const of = (spec: JailSpec): Kind => {
    const key = keyOf(spec);
    const known = kinds.get(key);
    if (known !== undefined) return known;
    const others = [...kinds.values()].filter(({ isStanding }) => !isStanding);
    const idlest = others.find(({ demand }) => demand.isIdle(1)) ?? others[0];
    if (kinds.size >= KINDS_MAX && idlest !== undefined) forget(idlest);
    const kind = createKind(key, spec);
    kinds.set(key, kind);
    return kind;
  };
  const memoryBytes = () => sum(kinds.values(), (kind) => countOf(kind) * kind.memoryBytes);
  return {
    of,
    stand(runtime) {
      const kind = of({ runtime, limits: DEFAULT_LIMITS });
      if (kind.isStanding) return false;
      kind.isStanding = true;
      kind.demand = createDemand(STANDING);
      return true;
    },
    has: (kind) => kinds.get(kind.key) === kind,
    all: () => [...kinds.values()],
    adapt(seconds) {
      for (const kind of [...kinds.values()]) {
        kind.demand.look({ seconds, refillSeconds: kind.refillSeconds, ready: kind.ready.length });
        const spare = Math.min(kind.ready.length, -missing(kind));
        if (spare > 0) kind.ready.splice(0, spare).forEach(discard);
        if (!kind.isStanding && kind.demand.isIdle(IDLE_LOOKS)) forget(kind);
      }
    },
    neediest(now) {
      const needy = [...kinds.values()].filter((kind) => missing(kind) > 0 && kind.retryAt <= now);
      // However much one tool is called, the first jail of a default kind comes before its next one.
      return needy.find(isBare) ?? needy.sort((a, b) => missing(b) - missing(a))[0];
    },
    makeRoom(kind, memoryBytesMax) {
      while (memoryBytes() + kind.memoryBytes > memoryBytesMax) {
        const others = [...kinds.values()].filter(
          (other) => other !== kind && !other.isStanding && other.ready.length > 0,
        );
        const spare = others.find(({ demand }) => demand.isIdle(1)) ?? (isBare(kind) ? others[0] : undefined);
        const jail = spare?.ready.pop();
        if (jail === undefined) return false;
        discard(jail);
      }
      return true;
    },
    memoryBytes,
  };
}

export function countOf({ ready, starting }: Kind): number {
  return ready.length + starting.size;
}

export function sum<Item>(items: Iterable<Item>, measure: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += measure(item);
  return total;
}

/** A default kind of which not one waits: what most calls would take. */
function isBare(kind: Kind): boolean {
  return kind.isStanding && countOf(kind) === 0;
}

function missing(kind: Kind): number {
  return kind.demand.wanted() - countOf(kind);
}

function createKind(key: string, spec: JailSpec): Kind {
  return {
    ...{ key, spec, memoryBytes: WAITING_BYTES[spec.runtime], isStanding: false, demand: createDemand(0) },
    ...{ ready: [], starting: new Set(), refillSeconds: 0, failures: 0, retryAt: 0 },
  };
}

function keyOf({ runtime, limits, layer, rootSha256 }: JailSpec): string {
  const { memoryBytesMax, pidsMax, tmpBytesMax } = limits;
  return [runtime, memoryBytesMax, pidsMax, tmpBytesMax, layer?.sha256 ?? '', rootSha256 ?? ''].join(' ');
}
