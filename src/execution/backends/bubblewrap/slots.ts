import { readFileSync } from 'node:fs';

export type Slots = {
  /** A number that no living jail of ours has; undefined when all are taken. */
  lease(): number | undefined;
  /** Only once nothing of the jail is left. */
  release(slot: number): void;
};

export const SLOTS_MAX = 2048;

export function createSlots(): Slots {
  const leased = new Set<number>();
  return {
    lease() {
      for (let slot = 0; slot < SLOTS_MAX; slot += 1) {
        if (leased.has(slot)) continue;
        leased.add(slot);
        return slot;
      }
      return undefined;
    },
    release: (slot) => {
      leased.delete(slot);
    },
  };
}

/** From here on no distribution assigns user ids (systemd, "Users, Groups, UIDs and GIDs"). */
const UNASSIGNED_UID = 0x70000000;
const GATEWAYS = 0x10000;
/** Where a container knows only the first 65,536 ids. */
const SMALL_MAP_UID = 20_000;

/**
 * The first of our slots' user ids: each slot has one of its own, which is never a user's, and which another
 * gateway on the machine does not use either (their pids differ).
 */
export function chooseFirstUid(pid: number = process.pid): number {
  const firstUid = UNASSIGNED_UID + (pid % GATEWAYS) * SLOTS_MAX;
  return isMapped(firstUid + SLOTS_MAX - 1) ? firstUid : SMALL_MAP_UID;
}

/** Whether this user namespace has such an id (user_namespaces(7)). */
function isMapped(uid: number): boolean {
  return readFileSync('/proc/self/uid_map', 'utf8')
    .trim()
    .split('\n')
    .some((line) => {
      const [first = 0, , count = 0] = line.trim().split(/\s+/).map(Number);
      return uid >= first && uid < first + count;
    });
}
