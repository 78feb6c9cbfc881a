import type { Log } from '../core/log.ts';
import type { FromWorker } from './messages.ts';
import { createRestarts, type Restarts } from './restarts.ts';
import { type Parcel, startWorkerProcess, type WorkerEvents, type WorkerProcess } from './worker-process.ts';

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
  /** The program's main file. */
  main: string;
  count: number;
  log: Log;
  /** What a worker says that is not the fleet's own matter. */
  hear(worker: number, message: FromWorker): void;
  /** Connections that a worker left untaken. */
  giveAgain(parcels: Parcel[]): void;
  /** A worker takes connections from now on. */
  noteReady(): void;
};

type Member = {
  process: WorkerProcess;
  state: 'starting' | 'ready' | 'leaving';
};

/** Longer than a worker drains. */
const DRAIN_MS = 75_000;

export function createFleet(deps: FleetDeps): Fleet {
  const { main, count, log } = deps;
  const members = new Map<number, Member>();
  const startup = createStartup(count);
  const restarts: Restarts = createRestarts();
  let begun: string | undefined;
  let draining: (() => void) | undefined;

  const begin = (member: Member) => {
    if (begun !== undefined) member.process.send({ kind: 'start', publicUrl: begun });
  };
  const leave = (member: Member) => {
    member.state = 'leaving';
    member.process.send({ kind: 'drain' });
  };
  const hear = (member: Member, message: FromWorker) => {
    const { number, pid } = member.process;
    if (message.kind === 'retire') return leave(member);
    if (message.kind !== 'ready') return deps.hear(number, message);
    log.info({ worker: number, pid }, 'a worker is ready');
    // Told to leave while it started, it does.
    if (member.state === 'leaving') return;
    member.state = 'ready';
    restarts.noteReady(number);
    startup.noteReady(number);
    deps.noteReady();
  };
  const lose = (member: Member, { code, untaken }: Parameters<WorkerEvents['gone']>[0]) => {
    const { number, pid } = member.process;
    members.delete(number);
    if (draining) {
      if (members.size === 0) draining();
      return deps.giveAgain(untaken);
    }
    startup.noteGone(number, code);
    const inMs = restarts.next(number);
    const isAsked = member.state === 'leaving' && code === 0;
    log[isAsked ? 'info' : 'error']({ worker: number, pid, code, inMs }, 'a worker ended; starting it again');
    setTimeout(() => !draining && start(number), inMs);
    deps.giveAgain(untaken);
  };
  const start = (number: number) => {
    const member: Member = {
      state: 'starting',
      process: startWorkerProcess(main, number, {
        message: (message) => hear(member, message),
        gone: (exit) => lose(member, exit),
      }),
    };
    members.set(number, member);
    begin(member);
  };
  for (let number = 1; number <= count; number += 1) start(number);

  return {
    started: startup.done,
    begin(publicUrl) {
      begun = publicUrl;
      for (const member of members.values()) begin(member);
    },
    ready: () => [...members].flatMap(([number, { state }]) => (state === 'ready' ? [number] : [])),
    find: (number) => members.get(number)?.process,
    restarts: () => restarts.count(),
    drain() {
      return new Promise((resolve) => {
        const timer = setTimeout(() => killAll(members), DRAIN_MS);
        draining = () => {
          clearTimeout(timer);
          resolve();
        };
        if (members.size === 0) return draining();
        for (const member of members.values()) leave(member);
      });
    },
    kill: () => killAll(members),
  };
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
