import type { Log } from '../core/log.ts';
import type { FromWorker } from './messages.ts';
import { createRestarts, type Restarts } from './restarts.ts';
import { createWatch, LOOK_MS, type Watch, type WatchDeps } from './watch.ts';
import {
  type Parcel,
  type Program,
  startWorkerProcess,
  type WorkerEvents,
  type WorkerProcess,
} from './worker-process.ts';

/** The workers of one supervisor: `count` of them, each started again whenever it ends. */
export type Fleet = {
  /** Resolves when every worker is ready; throws when one ends before that. */
  started: Promise<void>;
  /** Lets the workers begin: what they wait for is there. */
  begin(publicUrl: string): void;
  /** The numbers of those that take connections. */
  ready(): number[];
  find(number: number): WorkerProcess | undefined;
  /** How many were started again. */
  restarts(): number;
  /** Lets each finish, and resolves when all are gone. No connection may be given to one after this. */
  drain(): Promise<void>;
  kill(): void;
};

export type FleetDeps = {
  program: Program;
  count: number;
  log: Log;
  /** All of it is about to end: none is started anew, and none let go alone. */
  ending: AbortSignal;
  /** What a worker says that is not the fleet's own matter. */
  hear(worker: number, message: FromWorker): void;
  /** Connections that a worker left untaken. */
  giveAgain(parcels: Parcel[]): void;
  /** A worker takes connections from now on. */
  noteReady(): void;
};

type Member = {
  process: WorkerProcess;
  /** `still`: it was ready and does not answer. */
  state: 'starting' | 'ready' | 'still' | 'leaving';
  watch: Watch;
  /** Ends it when it is neither ready nor gone in time. */
  bound: NodeJS.Timeout;
};

/** Longer than a worker drains. */
const DRAIN_MS = 75_000;
/** Who ends workers may mean all of us, and we hear of it a moment after they do. */
const RETIRE_MS = 250;
/** Longer than a start with much to adopt, on a busy machine. */
const START_MS = 180_000;

export function createFleet(deps: FleetDeps): Fleet {
  const { program, count } = deps;
  const members = new Map<number, Member>();
  const startup = createStartup(count);
  const restarts = createRestarts();
  const course: Course = {};
  const events = createEvents(deps, { members, startup, restarts, course, start });
  for (let number = 1; number <= count; number += 1) start(number);
  const looking = setInterval(() => lookAtAll(members), LOOK_MS).unref();

  function start(number: number): void {
    const process = startWorkerProcess(program, number, {
      heard: () => member.watch.noteAnswer(),
      message: (message) => events.hear(member, message),
      gone: (exit) => events.lose(member, exit),
    });
    const member: Member = {
      ...{ state: 'starting', process, watch: createWatch(watching(deps, () => member)) },
      bound: setTimeout(process.kill, START_MS).unref(),
    };
    members.set(number, member);
    begin(member, course);
  }
  return {
    started: startup.done,
    begin(publicUrl) {
      course.publicUrl = publicUrl;
      for (const member of members.values()) begin(member, course);
    },
    ready: () => [...members].flatMap(([number, { state }]) => (state === 'ready' ? [number] : [])),
    find: (number) => members.get(number)?.process,
    restarts: () => restarts.count(),
    drain() {
      return new Promise((resolve) => {
        const timer = setTimeout(() => killAll(members), DRAIN_MS);
        course.drained = () => {
          clearTimeout(timer);
          clearInterval(looking);
          resolve();
        };
        if (members.size === 0) return course.drained();
        for (const member of members.values()) leave(member);
      });
    },
    kill() {
      course.drained ??= () => {};
      killAll(members);
    },
  };
}

/** How far the fleet has come. */
type Course = {
  /** Workers may begin, and this is what the world calls us. */
  publicUrl?: string;
  /** Nobody is started any more; to be called when the last one is gone. */
  drained?: () => void;
};

type Parts = {
  members: Map<number, Member>;
  startup: ReturnType<typeof createStartup>;
  restarts: Restarts;
  course: Course;
  start(number: number): void;
};

/** What follows from what a worker says, and from its end. */
function createEvents(deps: FleetDeps, { members, startup, restarts, course, start }: Parts) {
  const { log, ending } = deps;
  return {
    hear(member: Member, message: FromWorker): void {
      const { number, pid } = member.process;
      if (message.kind === 'retire') setTimeout(() => ending.aborted || leave(member), RETIRE_MS);
      else if (message.kind !== 'ready') deps.hear(number, message);
      if (message.kind !== 'ready') return;
      log.info({ worker: number, pid }, 'a worker is ready');
      // Told to leave while it started, it does.
      if (member.state === 'leaving') return;
      member.state = 'ready';
      clearTimeout(member.bound);
      restarts.noteReady(number);
      startup.noteReady(number);
      deps.noteReady();
    },
    lose(member: Member, { code, untaken }: Parameters<WorkerEvents['gone']>[0]): void {
      const { number, pid } = member.process;
      members.delete(number);
      clearTimeout(member.bound);
      deps.giveAgain(untaken);
      if (course.drained) {
        if (members.size === 0) course.drained();
        return;
      }
      startup.noteGone(number, code);
      const inMs = restarts.next(number);
      const isAsked = member.state === 'leaving' && code === 0;
      log[isAsked ? 'info' : 'error'](
        { worker: number, pid, code, inMs },
        'a worker ended; starting it again',
      );
      setTimeout(() => course.drained ?? (ending.aborted || start(number)), inMs);
    },
  };
}

/** What follows when a worker's event loop stands still. */
function watching({ log, giveAgain, noteReady }: FleetDeps, find: () => Member): WatchDeps {
  return {
    ask: () => find().process.look(),
    noteStill() {
      const member = find();
      const { number, pid } = member.process;
      log.warn({ worker: number, pid }, 'a worker stands still; it gets no connections for now');
      if (member.state !== 'ready') return;
      member.state = 'still';
      giveAgain(member.process.takeBack());
    },
    noteAwake() {
      const member = find();
      if (member.state !== 'still') return;
      member.state = 'ready';
      noteReady();
    },
    giveUp() {
      const { number, pid, kill } = find().process;
      log.error({ worker: number, pid }, 'a worker stood still for too long; killing it');
      kill();
    },
  };
}

function begin({ process }: Member, { publicUrl }: Course): void {
  if (publicUrl !== undefined) process.send({ kind: 'start', publicUrl });
}

/** No connection is given to it from here on; what was given before comes before this. */
function leave(member: Member): void {
  if (member.state === 'leaving') return;
  member.state = 'leaving';
  member.process.leave();
  clearTimeout(member.bound);
  member.bound = setTimeout(member.process.kill, DRAIN_MS).unref();
}

/** Those that start are busy with that, and have a bound of their own. */
function lookAtAll(members: ReadonlyMap<number, Member>): void {
  for (const { state, watch } of members.values()) if (state !== 'starting') watch.look();
}

function killAll(members: ReadonlyMap<number, Member>): void {
  for (const { process } of members.values()) process.kill();
}

/** Waits for each number once: a start that fails for one is wrong for all, and nobody repairs it by repeating it. */
function createStartup(count: number) {
  const ready = new Set<number>();
  const { promise, resolve, reject } = withResolvers();
  return {
    done: promise,
    noteReady(number: number) {
      ready.add(number);
      if (ready.size === count) resolve();
    },
    noteGone(number: number, code: number | null) {
      if (!ready.has(number)) reject(new WorkerStartError(number, code));
    },
  };
}

/** A worker that ended before it was ready. What was wrong it has said itself. */
export class WorkerStartError extends Error {
  constructor(worker: number, code: number | null) {
    super(`Worker ${worker} ended with ${code === null ? 'a signal' : `code ${code}`} before it was ready.`);
  }
}

function withResolvers() {
  let [resolve, reject] = [() => {}, (_reason: Error) => {}];
  const promise = new Promise<void>((done, fail) => {
    [resolve, reject] = [done, fail];
  });
  // Whoever waits is told; before that it is nobody's unhandled rejection.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
