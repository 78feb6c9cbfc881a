import type { Log } from '../core/log.ts';
import { type Connections, createConnections } from './connections.ts';
import { createExchange } from './exchange.ts';
import { createFleet, type Fleet } from './fleet.ts';
import type { HeadSight } from './head.ts';
import { chooseOwner } from './steer.ts';
import { createWaitingRoom } from './waiting-room.ts';
import type { Parcel, Program } from './worker-process.ts';

export type SupervisorOptions = {
  program: Program;
  count: number;
  address: { host: string; port: number };
  /** What the world calls us, where that is not the address. */
  publicUrl: string | undefined;
  log: Log;
  /** Says, before `stop` does, that everything ends: workers that are told so as well wait for `stop`. */
  ending: AbortSignal;
  /** What is done once for all workers, before the first begins. */
  prepare(): Promise<void>;
};

export type Supervisor = {
  publicUrl: string;
  /** Fails no call in flight. */
  stop(): Promise<void>;
};

/**
 * Owns the port and `count` workers that answer on it. Resolves when all are ready; connections that come
 * before wait for the first.
 */
export async function startSupervisor(options: SupervisorOptions): Promise<Supervisor> {
  const { program, count, address, log, ending, prepare } = options;
  const waiting = createWaitingRoom<Parcel & { sight: HeadSight }>();
  let isStopping = false;
  const sights = new WeakMap<Parcel['socket'], HeadSight>();
  const give = (parcel: Parcel & { sight: HeadSight }) => {
    sights.set(parcel.socket, parcel.sight);
    const worker = choose(fleet.ready(), parcel.sight);
    const process = worker === undefined ? undefined : fleet.find(worker);
    if (process) return process.give(parcel);
    waiting.add(parcel);
    if (isStopping) waiting.close();
  };
  const choose = createChoice();
  const fleet: Fleet = createFleet({
    ...{ program, count, log, ending },
    hear: (worker, message) => exchange.pass(worker, message),
    giveAgain(parcels) {
      for (const parcel of parcels) {
        give({ ...parcel, sight: sights.get(parcel.socket) ?? { kind: 'stranger' } });
      }
    },
    noteReady() {
      for (const parcel of waiting.leave()) give(parcel);
    },
  });
  const exchange = createExchange(fleet);
  const connections: Connections = createConnections({ give, log });
  try {
    const port = await connections.listen(address);
    const publicUrl = options.publicUrl ?? `http://${address.host}:${port}`;
    await prepare();
    fleet.begin(publicUrl);
    await fleet.started;
    return {
      publicUrl,
      async stop() {
        isStopping = true;
        if (fleet.ready().length === 0) waiting.close();
        // Workers go on serving until every connection that was accepted is one's of them.
        await connections.close();
        await fleet.drain();
      },
    };
  } catch (cause) {
    fleet.kill();
    throw cause;
  }
}

/** A key has an owner, so that its charges are batched together; strangers are spread evenly. */
function createChoice() {
  let turn = 0;
  return (ready: readonly number[], sight: HeadSight): number | undefined => {
    if (sight.kind === 'key' || sight.kind === 'session') return chooseOwner(sight.key, ready);
    turn += 1;
    return ready[turn % ready.length];
  };
}
