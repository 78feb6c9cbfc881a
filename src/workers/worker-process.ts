import { type ChildProcess, fork } from 'node:child_process';
import type { Socket } from 'node:net';
import { type FromWorker, isMessage, type ToWorker } from './messages.ts';

/** A connection on its way to a worker. */
export type Parcel = { socket: Socket; bytes: Uint8Array };

/** One worker as the supervisor has it: a process, and the connections that it was given and has not taken yet. */
export type WorkerProcess = {
  readonly number: number;
  readonly pid: number | undefined;
  send(message: ToWorker): void;
  /** The worker has it once it says so; until then it is still ours, and comes back by `onGone`. */
  give(parcel: Parcel): void;
  kill(): void;
};

export type WorkerEvents = {
  message(message: FromWorker): void;
  /** The process is gone and said all that it will: `untaken` are the connections that nobody has. */
  gone(exit: { code: number | null; untaken: Parcel[] }): void;
};

/** `--worker=2`: which of the workers a process is. */
export const WORKER_FLAG = '--worker=';

/** Starts worker `number`: this program once more, told by its arguments. */
export function startWorkerProcess(main: string, number: number, events: WorkerEvents): WorkerProcess {
  const child = fork(main, [`${WORKER_FLAG}${number}`], { serialization: 'advanced' });
  const untaken = new Map<number, Parcel>();
  let lastId = 0;
  child.on('message', (message: unknown) => {
    if (!isMessage(message)) return;
    const from = message as FromWorker;
    if (from.kind !== 'took') return events.message(from);
    // Ours was a second handle of the same connection, and closing it closes nothing but itself.
    untaken.get(from.id)?.socket.destroy();
    untaken.delete(from.id);
  });
  child.on('error', () => {});
  void ended(child).then((code) => {
    const parcels = [...untaken.values()];
    untaken.clear();
    events.gone({ code, untaken: parcels });
  });
  return {
    number,
    pid: child.pid,
    send(message) {
      if (child.connected) child.send(message, () => {});
    },
    give(parcel) {
      lastId += 1;
      untaken.set(lastId, parcel);
      if (!child.connected) return;
      // Kept open here: a worker that dies before it took the connection has read nothing of it.
      forgetServer(parcel.socket);
      const message: ToWorker = { kind: 'connection', id: lastId, bytes: parcel.bytes };
      child.send(message, parcel.socket, { keepOpen: true }, () => {});
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
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', resolve);
    // What could not be started does not exit.
    child.once('error', () => child.pid === undefined && resolve(null));
  });
  const disconnected = new Promise<void>((resolve) => {
    if (!child.connected) return resolve();
    child.once('disconnect', resolve);
  });
  const [code] = await Promise.all([exited, disconnected]);
  return code;
}
