import { type ChildProcess, fork } from 'node:child_process';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FromWorker, isMessage, type ToWorker } from './messages.ts';

/** A connection on its way to a worker. */
export type Parcel = { socket: Socket; bytes: Uint8Array };

/** One worker as the supervisor has it: a process, and the connections that it was given and has not taken yet. */
export type WorkerProcess = {
  readonly number: number;
  readonly pid: number | undefined;
  send(message: ToWorker): void;
  /** Asks for any word of it, unless it owes us one: that it took a connection. */
  look(): void;
  /** The worker has it once it says so; until then it is still ours, and comes back by `onGone`. */
  give(parcel: Parcel): void;
  /** What was given to it and has not been sent: it is no longer its own. */
  takeBack(): Parcel[];
  /** Lets it finish, once it took what it was given; nothing may be given to it after this. */
  leave(): void;
  kill(): void;
};

export type WorkerEvents = {
  /** It said anything at all: its event loop turns. */
  heard(): void;
  message(message: FromWorker): void;
  /** The process is gone and said all that it will: `untaken` are the connections that nobody has. */
  gone(exit: { code: number | null; untaken: Parcel[] }): void;
};

/** `--worker=2`: which of the workers a process is. */
export const WORKER_FLAG = '--worker=';

const POLL_MS = 5;
/** What a process had said when it ended is read in a turn or two. */
const LAST_WORDS_MS = 2_000;

/** The program that workers run, and how Node is to run it. */
export type Program = { main: string; nodeArguments: readonly string[] };

/** Starts worker `number`: this program once more, told by its arguments. */
export function startWorkerProcess(program: Program, number: number, events: WorkerEvents): WorkerProcess {
  const execArgv = [...program.nodeArguments];
  const child = fork(program.main, [`${WORKER_FLAG}${number}`], { serialization: 'advanced', execArgv });
  /** In the order in which they came; the first is on its way. */
  const untaken: Parcel[] = [];
  let isLeaving = false;
  let lastId = 0;
  const send = (message: ToWorker, socket?: Socket) => {
    // Kept open here: a worker that dies before it took the connection has read nothing of it.
    if (child.connected) child.send(message, socket, { keepOpen: true }, () => {});
  };
  // One at a time. Node keeps a queue of its own, and while something is in it, it does not notice that the process ended.
  const sendNext = () => {
    const [next] = untaken;
    if (!next) return isLeaving ? send({ kind: 'drain' }) : undefined;
    forgetServer(next.socket);
    lastId += 1;
    send({ kind: 'connection', id: lastId, bytes: next.bytes }, next.socket);
  };
  child.on('message', (message: unknown) => {
    if (!isMessage(message)) return;
    events.heard();
    const from = message as FromWorker;
    if (from.kind !== 'took') return events.message(from);
    // Ours was a second handle of the same connection, and closing it closes nothing but itself.
    if (from.id === lastId) untaken.shift()?.socket.destroy();
    sendNext();
  });
  child.on('error', () => {});
  void ended(child).then((code) => events.gone({ code, untaken: untaken.splice(0) }));
  return {
    number,
    pid: child.pid,
    send,
    give(parcel) {
      if (untaken.push(parcel) === 1) sendNext();
    },
    // Behind a connection that is on its way Node would keep the question in its queue, see above.
    look: () => {
      if (untaken.length === 0) send({ kind: 'look' });
    },
    // The first is on its way, and only the worker's end tells that it was not taken.
    takeBack: () => untaken.splice(1),
    leave() {
      isLeaving = true;
      if (untaken.length === 0) sendNext();
    },
    kill: () => {
      child.kill('SIGKILL');
    },
  };
}

/**
 * Node would go on counting a connection of a server that was sent away, and close the server only once the worker
 * has closed the connection: then no worker could drain before all clients had left.
 */
function forgetServer(socket: Socket): void {
  // Not part of the types: what child_process looks for.
  (socket as Socket & { server?: unknown }).server = undefined;
}

/** When the process is gone and its channel was read to the end: what it took, it has said by then. */
async function ended(child: ChildProcess): Promise<number | null> {
  const code = await new Promise<number | null>((resolve) => {
    child.once('exit', resolve);
    // What could not be started does not exit.
    child.once('error', () => child.pid === undefined && resolve(null));
  });
  // Not the event: Node leaves it out while it still has something to send.
  const deadline = performance.now() + LAST_WORDS_MS;
  while (child.connected && performance.now() < deadline) await sleep(POLL_MS);
  return code;
}
