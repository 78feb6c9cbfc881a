import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { Problem } from '../core/problem.ts';
import type { Exit, Jail, KillReason } from './backend.ts';
import type { Eras } from './eras.ts';
import type { Exchange } from './exchange.ts';
import { greetServer } from './greet-server.ts';
import { injectCode } from './inject.ts';
import type { Break } from './json-rpc.ts';
import { type McpSession, openMcpSession } from './mcp-session.ts';
import type { FailureReason } from './outcome.ts';
import { type HostedServer, openPlace, type Place, type PlaceDeps } from './place.ts';
import type { Queue } from './queue.ts';

export type ConversationDeps = PlaceDeps & {
  queue: Queue;
  eras: Eras;
  /** Every conversation under way, so that closing can end it. */
  sessions: Set<McpSession>;
  clock: Clock;
};

export type ConversationInput = Pick<Exchange, 'client' | 'events' | 'logLevel'> & {
  server: HostedServer;
  /** What the server says of itself is wanted. */
  mustGreet?: boolean;
};

export type Conversation<T> =
  | { kind: 'finished'; value: T; runMs: number; stderr: string }
  | { kind: 'broken'; reason: FailureReason; detail: string; runMs: number; stderr: string };

/** A server that closes its stdout is about to exit: this long, so that we learn how. */
const EXIT_GRACE_MS = 200;
/** A server that is told that nobody waits may end by itself for so long. */
const CANCEL_GRACE_MS = 200;
/** The first, one whose waiting jail was found dead, one that could not bear a probe. */
const ATTEMPTS_MAX = 3;

/**
 * Talks with the server in a jail of its own, inside all limits. The jail is gone, or certain to go, when this
 * answers; its place in the queue is free only once nothing of it is left.
 */
export async function converse<T extends object>(
  deps: ConversationDeps,
  input: ConversationInput,
  signal: AbortSignal,
  script: (session: McpSession) => Promise<T | Break>,
): Promise<Conversation<T>> {
  const admission = await deps.queue.enter(signal, input.server.publisherId);
  if (admission.kind === 'cancelled') return cancelled();
  const leaving: Promise<void>[] = [];
  let isFresh = false;
  let runMs = 0;
  try {
    for (let attempt = 1; ; attempt += 1) {
      const place = await openPlace(deps, { server: input.server, isFresh }, signal);
      const { ending, retry } = await talkAt({ ...deps, leaving }, place, input, signal, script);
      runMs += ending.runMs;
      if (retry === 'no' || attempt === ATTEMPTS_MAX || signal.aborted) return { ...ending, runMs };
      isFresh ||= retry === 'fresh';
    }
  } catch (error) {
    if (signal.aborted) return cancelled();
    throw error;
  } finally {
    void Promise.all(leaving).then(() => {
      admission.leave();
      deps.pool.refill();
    });
  }
}

/** `fresh`: the jail had died while it waited, and the code in it never ran. */
type Retry = 'no' | 'fresh' | 'other-era';

async function talkAt<T extends object>(
  deps: ConversationDeps & { leaving: Promise<void>[] },
  place: Place,
  input: ConversationInput,
  signal: AbortSignal,
  script: (session: McpSession) => Promise<T | Break>,
): Promise<{ ending: Conversation<T>; retry: Retry }> {
  const { jail } = place;
  const { code, limits } = input.server;
  const startedAt = deps.clock.now();
  injectCode(jail, code);
  const session = openMcpSession(jail, { ...input, outputBytesMax: limits.outputBytesMax });
  const leave = (reason: KillReason, delay?: Promise<unknown>) => {
    const left = delay === undefined ? place.leave(reason) : delay.then(() => place.leave(reason));
    deps.leaving.push(left);
    return left;
  };
  deps.sessions.add(session);
  const ending = await talk(deps, session, input, signal, script)
    .catch((error: unknown) => {
      void leave('done');
      throw error;
    })
    .finally(() => deps.sessions.delete(session));
  const runMs = deps.clock.now().getTime() - startedAt.getTime();
  const stderr = session.stderrTail();
  if (ending.kind === 'finished') {
    // The answer goes first: ending a jail takes the machine a while.
    void leave('done', new Promise((resolve) => setImmediate(resolve)));
    return { ending: { kind: 'finished', value: ending.value, runMs, stderr }, retry: 'no' };
  }
  if (ending.reason === 'cancelled') {
    void leave('cancelled', waitForExit(jail, CANCEL_GRACE_MS));
    return { ending: { ...ending, runMs, stderr }, retry: 'no' };
  }
  if (ending.reason === 'crashed') await waitForExit(jail, EXIT_GRACE_MS);
  await leave(toKillReason(ending.reason));
  const explained = { ...explain(ending, await jail.exit), runMs, stderr };
  const isSilent = place.isWarm && !session.hasSpoken() && stderr === '';
  if (isSilent && explained.reason === 'crashed') return { ending: explained, retry: 'fresh' };
  return { ending: explained, retry: ending.isProbe ? 'other-era' : 'no' };
}

type Ending<T> = { kind: 'finished'; value: T } | (Break & { isProbe: boolean });

async function talk<T extends object>(
  { eras }: ConversationDeps,
  session: McpSession,
  { server, client, mustGreet = false }: ConversationInput,
  signal: AbortSignal,
  script: (session: McpSession) => Promise<T | Break>,
): Promise<Ending<T>> {
  const { runTimeoutMs } = server.limits;
  const timer = setTimeout(
    () => session.end('timeout', `The server did not answer within ${runTimeoutMs} ms.`),
    runTimeoutMs,
  );
  signal.addEventListener('abort', session.cancel, { once: true });
  if (signal.aborted) session.cancel();
  try {
    const greeting = { codeSha256: server.code.sha256, client, mustGreet, runTimeoutMs };
    const refusal = await greetServer(eras, session, greeting);
    if (refusal !== undefined) return { ...refusal.broken, isProbe: refusal.isProbe };
    const value = await script(session);
    // Abuse that came right behind the last answer still spoils it.
    const broken = session.broken();
    if (broken !== undefined) return { ...broken, isProbe: false };
    return isBreak(value) ? { ...value, isProbe: false } : { kind: 'finished', value };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', session.cancel);
  }
}

function isBreak(value: object): value is Break {
  return 'kind' in value && value.kind === 'broken';
}

async function waitForExit(jail: Jail, ms: number): Promise<void> {
  const waiting = new AbortController();
  const grace = sleep(ms, undefined, { signal: waiting.signal }).catch(() => undefined);
  await Promise.race([jail.exit, grace]);
  waiting.abort();
}

/** What the conversation saw, corrected by what the kernel knows. */
function explain({ reason, detail }: Break, exit: Exit): Break {
  if (exit.isOutOfMemory && (reason === 'crashed' || reason === 'timeout')) {
    return { kind: 'broken', reason: 'out-of-memory', detail: 'The server used more memory than it may.' };
  }
  if (reason !== 'crashed') return { kind: 'broken', reason, detail };
  if (exit.isBackendFailure) {
    throw new Problem('unavailable', {
      detail: 'The sandbox could not start the server.',
      retryAfterSeconds: 5,
      isUncharged: true,
    });
  }
  const how = exit.signal ?? (exit.code === null ? undefined : `exit code ${exit.code}`);
  return {
    kind: 'broken',
    reason,
    detail: how === undefined ? detail : `${detail.replace(/\.$/, '')} (${how}).`,
  };
}

function toKillReason(reason: FailureReason): KillReason {
  switch (reason) {
    case 'timeout':
    case 'protocol':
      return reason;
    case 'output-too-large':
      return 'output';
    default:
      return 'done';
  }
}

function cancelled(): Conversation<never> {
  return { kind: 'broken', reason: 'cancelled', detail: 'The call was cancelled.', runMs: 0, stderr: '' };
}
