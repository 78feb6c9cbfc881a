import type { Socket } from 'node:net';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { Database } from './client.ts';

/** A connection of the driver, as our patch of it shows one. */
export type Connection = {
  backend: { pid: number | null };
  /** Its socket while it has asked something that is not answered. */
  waiting(): Socket | null;
};

/** Nothing heard on a connection that waits for something. */
type Silence = { socket: Socket; bytesRead: number; since: number; isDoubted: boolean };

/** `silent`: it says nothing to anybody. Else the backends at work, as far as they can be told apart. */
type Word = { kind: 'silent' } | { kind: 'speaks'; atWork: ReadonlySet<number> | undefined };

const LOOK_MS = 1_000;
/** A statement may take longer; then the database is asked whether it is there. */
const SUSPICIOUS_MS = 4_000;
const ANSWER_MS = 4_000;
const STEP_MS = 200;

/**
 * Ends connections on which nothing will be heard any more, as if they had been cut: a server that stands still, a
 * machine that was taken over by another one, a line that drops what it is given. TCP itself would wait a quarter of an
 * hour. A statement that only takes long is left alone: a new connection asks whether the server answers, and where no
 * pooler hides it, whether the statement's backend is at work.
 */
export function watchSilence(open: () => Database): { watch(connection: Connection): void; stop(): void } {
  const connections: Connection[] = [];
  const silences = new Map<Connection, Silence>();
  let isAsking = false;
  let askNextAt = 0;

  const listSuspicious = (): [Connection, Silence][] => {
    const now = performance.now();
    for (const connection of connections) note(silences, connection, now);
    return [...silences].filter(([, { since }]) => now - since >= SUSPICIOUS_MS);
  };
  const look = async () => {
    const suspicious = listSuspicious();
    if (suspicious.length === 0 || isAsking || performance.now() < askNextAt) return;
    isAsking = true;
    try {
      const word = await ask(
        open,
        suspicious.flatMap(([{ backend }]) => backend.pid ?? []),
      );
      for (const [connection, silence] of suspicious) {
        if (isStill(connection, silence)) judge(connection, silence, word);
      }
    } finally {
      const isDoubted = suspicious.some(([, silence]) => silence.isDoubted);
      askNextAt = performance.now() + (isDoubted ? 0 : SUSPICIOUS_MS);
      isAsking = false;
    }
  };
  // One that could not ask asks again.
  const looking = setInterval(() => look().catch(() => {}), LOOK_MS).unref();
  return { watch: (connection) => connections.push(connection), stop: () => clearInterval(looking) };
}

function note(silences: Map<Connection, Silence>, connection: Connection, now: number): void {
  const socket = connection.waiting();
  // Who reads slowly waits for itself.
  if (!socket || socket.isPaused()) silences.delete(connection);
  else if (!isStill(connection, silences.get(connection))) {
    silences.set(connection, { socket, bytesRead: socket.bytesRead, since: now, isDoubted: false });
  }
}

/** Whether it waits as it did, and has heard nothing since. */
function isStill(connection: Connection, silence: Silence | undefined): boolean {
  const socket = connection.waiting();
  return (
    socket !== null &&
    !socket.isPaused() &&
    socket === silence?.socket &&
    socket.bytesRead === silence.bytesRead
  );
}

/** Twice, as an answer may be on its way, and one connection may take long to make for reasons of its own. */
function judge({ backend }: Connection, silence: Silence, word: Word): void {
  const isAtWork = word.kind === 'speaks' && (!word.atWork || word.atWork.has(backend.pid ?? 0));
  if (isAtWork) silence.isDoubted = false;
  else if (!silence.isDoubted) silence.isDoubted = true;
  else silence.socket.destroy(Object.assign(new Error('the database says nothing'), { code: 'ETIMEDOUT' }));
}

async function ask(open: () => Database, pids: readonly number[]): Promise<Word> {
  const { sql } = open();
  const giveUp = new AbortController();
  const asking = sql<{ own: number; atWork: number[] }[]>`SELECT pg_backend_pid() AS own,
    ARRAY(SELECT pid FROM pg_stat_activity WHERE pid = ANY(${[...pids]}::int[]) AND state = 'active') AS at_work`;
  try {
    const rows = await Promise.race([asking, waitInVain(giveUp.signal)]);
    if (rows === 'in-vain') return { kind: 'silent' };
    const [row] = rows;
    // Behind a pooler nobody knows whose backend is whose.
    const isDirect = row !== undefined && rows.state.pid === row.own;
    return { kind: 'speaks', atWork: isDirect ? new Set(row.atWork) : undefined };
  } catch (cause) {
    return isWord(cause) ? { kind: 'speaks', atWork: undefined } : { kind: 'silent' };
  } finally {
    asking.catch(() => {});
    giveUp.abort();
    await sql.end({ timeout: 0 });
  }
}

/** It said something, if only that it has no more connections to give, or its queue is full. */
function isWord(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  return 'severity' in cause || ('code' in cause && cause.code === 'EAGAIN');
}

/** In short steps, none of which counts for more than it should: while we stood still ourselves, nobody could answer. */
async function waitInVain(signal: AbortSignal): Promise<'in-vain'> {
  for (let waitedMs = 0; waitedMs < ANSWER_MS; waitedMs += STEP_MS) {
    await sleep(STEP_MS, undefined, { signal });
    // What has come meanwhile is heard first.
    await setImmediate();
  }
  return 'in-vain';
}
