import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import { Problem } from '../core/problem.ts';
import type { Backend, Code, Exit, Jail, JailSpec, KillReason } from './backend.ts';
import { injectCode } from './inject.ts';
import type { Limits } from './limits.ts';
import { type Break, type McpSession, openMcpSession } from './mcp-session.ts';
import type { FailureReason } from './outcome.ts';
import type { Queue } from './queue.ts';
import { awaitReady } from './ready.ts';

export type ConversationDeps = {
  backend: Backend;
  queue: Queue;
  /** Every conversation under way, so that closing can end it. */
  sessions: Set<McpSession>;
  clock: Clock;
  log: Log;
};

export type Conversation<T> =
  | { kind: 'finished'; value: T; runMs: number; stderr: string }
  | { kind: 'broken'; reason: FailureReason; detail: string; runMs: number; stderr: string };

/** A server that closes its stdout is about to exit: this long, so that we learn how. */
const EXIT_GRACE_MS = 200;

/**
 * Talks once with the server in a jail of its own, inside all limits. The jail is gone, or certain to go,
 * when this answers; its place in the queue is free only once nothing of it is left.
 */
export async function converse<T extends object>(
  deps: ConversationDeps,
  spec: { code: Code; limits: Limits },
  signal: AbortSignal,
  script: (session: McpSession) => Promise<T | Break>,
): Promise<Conversation<T>> {
  const admission = await deps.queue.enter(signal);
  if (admission.kind === 'cancelled') return cancelled();
  let jail: Jail;
  try {
    jail = await deps.backend.acquire(toJailSpec(spec), signal);
    await awaitReady(jail, signal).catch(async (error: unknown) => {
      await jail.kill('cancelled');
      throw error;
    });
    injectCode(jail, spec.code);
  } catch (error) {
    admission.leave();
    if (signal.aborted) return cancelled();
    throw error;
  }
  const startedAt = deps.clock.now();
  const session = openMcpSession(jail, spec.limits.outputBytesMax);
  const remove = (reason: KillReason) =>
    jail
      .kill(reason)
      .catch((error: unknown) => deps.log.error({ err: error, jail: jail.id }, 'a jail could not be removed'))
      .finally(admission.leave);
  deps.sessions.add(session);
  const ending = await talk(session, spec, signal, script)
    .catch((error: unknown) => {
      void remove('done');
      throw error;
    })
    .finally(() => deps.sessions.delete(session));
  const runMs = deps.clock.now().getTime() - startedAt.getTime();
  const stderr = session.stderrTail();
  if (ending.kind === 'finished') {
    void remove('done');
    return { kind: 'finished', value: ending.value, runMs, stderr };
  }
  if (ending.reason === 'crashed') await waitForExit(jail);
  await remove(toKillReason(ending.reason));
  return { ...explain(ending, await jail.exit), runMs, stderr };
}

function toJailSpec({ code, limits }: { code: Code; limits: Limits }): JailSpec {
  return { runtime: code.runtime, limits, layer: code.layer, rootSha256: code.rootSha256 };
}

type Ending<T> = { kind: 'finished'; value: T } | Break;

async function talk<T extends object>(
  session: McpSession,
  { limits }: { limits: Limits },
  signal: AbortSignal,
  script: (session: McpSession) => Promise<T | Break>,
): Promise<Ending<T>> {
  const cancel = () => session.end('cancelled', 'The call was cancelled.');
  const timer = setTimeout(
    () => session.end('timeout', `The server did not answer within ${limits.runTimeoutMs} ms.`),
    limits.runTimeoutMs,
  );
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    const refusal = await session.initialize();
    if (refusal !== undefined) return refusal;
    const value = await script(session);
    // Abuse that came right behind the last answer still spoils it.
    return session.broken() ?? (isBreak(value) ? value : { kind: 'finished', value });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
  }
}

function isBreak(value: object): value is Break {
  return 'kind' in value && value.kind === 'broken';
}

async function waitForExit(jail: Jail): Promise<void> {
  const waiting = new AbortController();
  const grace = sleep(EXIT_GRACE_MS, undefined, { signal: waiting.signal }).catch(() => undefined);
  await Promise.race([jail.exit, grace]);
  waiting.abort();
}

/** What the conversation saw, corrected by what the kernel knows. */
function explain({ reason, detail }: Break, exit: Exit): Omit<Break, 'kind'> & { kind: 'broken' } {
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
    case 'cancelled':
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
