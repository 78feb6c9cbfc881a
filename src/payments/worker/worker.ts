import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { newUuid } from '../../core/ids.ts';
import type { Sql } from '../../db/index.ts';
import {
  beatWorker,
  deleteOldWorkers,
  insertWorker,
  listLiveWorkers,
  stopSilentWorkers,
  stopWorkers,
  type WorkerRow,
} from './store.ts';

/** A worker that has not been heard of for this long is gone: its claims are taken over. */
const SILENCE_MS = 15_000;

/** This process as the database knows it. */
export type Worker = {
  readonly id: string;
  /**
   * Says that this process lives, and declares the silent ones gone. False when we were declared gone: what we
   * had under way is others' now, and we go on under another id.
   */
  beat(): Promise<boolean>;
  stop(): Promise<void>;
};

/**
 * Registers this process. Workers of this host whose process is no more are declared gone at once, so that
 * a restart after a crash takes their claims over before it answers its first request.
 */
export async function startWorker(sql: Sql): Promise<Worker> {
  const self = { id: newWorkerId(), host: hostIdentity(), pid: process.pid };
  const stopGone = async () => {
    const live = await listLiveWorkers(sql);
    const gone = live.filter((worker) => worker.id !== self.id && isGone(worker, self));
    if (gone.length > 0)
      await stopWorkers(
        sql,
        gone.map(({ id }) => id),
      );
  };
  await stopGone();
  await deleteOldWorkers(sql);
  await insertWorker(sql, self);
  return {
    get id() {
      return self.id;
    },
    async beat() {
      const isAlive = await beatWorker(sql, self.id);
      if (!isAlive) {
        const id = newWorkerId();
        await insertWorker(sql, { ...self, id });
        self.id = id;
      }
      await stopGone();
      await stopSilentWorkers(sql, SILENCE_MS);
      return isAlive;
    },
    stop: () => stopWorkers(sql, [self.id]),
  };
}

function newWorkerId(): string {
  return `w_${newUuid()}`;
}

function isGone(worker: WorkerRow, self: { host: string; pid: number }): boolean {
  if (worker.host !== self.host) return false;
  // Our own process id, taken before we started, belonged to a process before us.
  if (worker.pid === self.pid) return worker.startedAt.getTime() < Date.now() - process.uptime() * 1000;
  try {
    process.kill(worker.pid, 0);
    return false;
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code === 'ESRCH';
  }
}

/** Name, boot and process namespace: only within one of each do process ids mean anything. */
function hostIdentity(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${hostname()}/${boot}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // No such file outside Linux: the name alone then tells machines apart.
    return hostname();
  }
}
