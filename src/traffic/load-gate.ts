/** Whether this process takes one more request: decided before anything of it is read but its head. */
export type LoadGate = {
  /** Counts a request in; false when it is one too many. */
  enter(kind: RequestKind): boolean;
  leave(): void;
  /** Runs the work on a request that was let in. It goes on, and keeps its place, when its caller has left. */
  work<T>(run: () => T | Promise<T>): T | Promise<T>;
  /** What the event loop was late by; called by a timer. */
  noteDelay(delayMs: number): void;
  inFlight(): number;
};

/** `maybe-paid`: its money may have moved already. `probe`: it asks whether we live, and is never refused. */
export type RequestKind = 'plain' | 'maybe-paid' | 'probe';

export type LoadBounds = {
  inFlightMax: number;
  /** 0 switches the guard off. */
  loopDelayMaxMs: number;
};

/** Places on top that only what may be paid already gets, so that no crowd of newcomers keeps it from its answer. */
const RESERVE = 1.25;
/** With less under way than this it is not our callers that keep us. */
const CROWD = 64;
/** One late round is a garbage collection or a neighbour; the next one too is load. */
const LATE_ROUNDS = 2;

export function createLoadGate({ inFlightMax, loopDelayMaxMs }: LoadBounds): LoadGate {
  const crowd = Math.min(CROWD, inFlightMax);
  let inFlight = 0;
  let working = 0;
  const finish = () => {
    working -= 1;
  };
  let lateRounds = 0;
  return {
    enter(kind) {
      const isLate = kind === 'plain' && lateRounds >= LATE_ROUNDS && inFlight >= crowd;
      const placesMax = kind === 'plain' ? inFlightMax : inFlightMax * RESERVE;
      if (kind !== 'probe' && (isLate || Math.max(inFlight, working) >= placesMax)) return false;
      inFlight += 1;
      return true;
    },
    leave() {
      inFlight -= 1;
    },
    work(run) {
      working += 1;
      try {
        const made = run();
        if (!(made instanceof Promise)) {
          finish();
          return made;
        }
        return made.finally(finish);
      } catch (cause) {
        finish();
        throw cause;
      }
    },
    noteDelay(delayMs) {
      lateRounds = loopDelayMaxMs > 0 && delayMs > loopDelayMaxMs ? lateRounds + 1 : 0;
    },
    inFlight: () => inFlight,
  };
}
