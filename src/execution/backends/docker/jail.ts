import { addAbortSignal, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { z } from 'zod';
import type { Log } from '../../../core/log.ts';
import type { Exit, Jail, KillReason } from '../../backend.ts';
import { type Attachment, attach } from './attachment.ts';
import { cleanupLimit, requestLimit, statusOf, unlessStatus } from './engine.ts';

export type JailInput = {
  /** Created, and not started yet. */
  container: Docker.Container;
  id: string;
  log: Log;
  /** Called once, when nothing of the jail is left, or when it cannot be known what is. */
  onGone(exit: Exit): void;
};

/**
 * Starts a created container as a jail. It is removed when it ends, whoever ends it. Throws when it cannot be
 * started; then it is for the caller to remove.
 */
export async function startJail(input: JailInput, signal: AbortSignal): Promise<Jail> {
  const { container, id, log } = input;
  const attachment = await attach(container, signal);
  try {
    await container.start({ abortSignal: requestLimit(signal) });
  } catch (error) {
    attachment.close();
    throw error;
  }
  const waiting = new AbortController();
  let isKilled = false;
  const newsMs = () => (isKilled ? LATE_NEWS_MS : AWAITED_NEWS_MS);
  const exit = learnExit(container, { attachment, newsMs }, waiting.signal).then((ending) =>
    // A jail that we killed says nothing about the backend.
    isKilled ? { ...ending, isBackendFailure: false } : ending,
  );
  const gone = exit
    .finally(() => waiting.abort())
    .then(async (ending) => {
      attachment.close();
      await removeContainer(container).finally(() => input.onGone(ending));
    });
  // Whoever calls kill() hears of a failure; a jail that ends on its own must not end the gateway.
  gone.catch((error: unknown) => log.error({ err: error, jail: id }, 'a jail left something behind'));
  const kill = async (reason: KillReason) => {
    log.debug({ jail: id, reason }, 'killing a jail');
    isKilled = true;
    // An engine does not tell the end of a jail before somebody took all of its output.
    attachment.close();
    const giveUp = setTimeout(() => waiting.abort(), GONE_TIMEOUT_MS);
    try {
      await unlessStatus(NOT_RUNNING, container.kill({ abortSignal: cleanupLimit() })).catch(
        (error: unknown) => {
          waiting.abort();
          throw error;
        },
      );
      await gone;
    } finally {
      clearTimeout(giveUp);
    }
  };
  const { stdin, stdout, stderr } = attachment;
  return { id, stdin, stdout, stderr, kill, exit };
}

/** Removes a container whatever it does; one that is gone, or just being removed, is no error. */
export async function removeContainer(container: Docker.Container): Promise<void> {
  await unlessStatus(GONE_OR_GOING, container.remove({ force: true, v: true, abortSignal: cleanupLimit() }));
}

const NOT_RUNNING = [404, 409];
const GONE_OR_GOING = [404, 409];
const GONE_TIMEOUT_MS = 10_000;
const SIGNAL_EXIT = 128;
const EXIT_KILLED = SIGNAL_EXIT + 9;
/** The kernel's message that memory ran out may reach the engine after the death that it caused. */
const LATE_NEWS_MS = [50, 150, 300];
/** Where nobody here killed it, that message is all that explains the death, and a busy engine is long about it. */
const AWAITED_NEWS_MS = [...LATE_NEWS_MS, 500, 1_000, 1_000];

const LOST: Exit = { code: null, signal: null, isOutOfMemory: false, isBackendFailure: true };

/** How the jail ended. An engine that stops answering is the backend's failure, and never the tool's. */
async function learnExit(
  container: Docker.Container,
  { attachment, newsMs }: { attachment: Attachment; newsMs: () => readonly number[] },
  signal: AbortSignal,
): Promise<Exit> {
  try {
    const status = await waitForEnd(container, signal);
    const isOutOfMemory = await wasOutOfMemory(container, status === EXIT_KILLED ? newsMs() : []);
    const isBackendFailure = !attachment.hasSpoken() && !isOutOfMemory;
    const ending = { isOutOfMemory, isBackendFailure };
    const name = SIGNALS[status - SIGNAL_EXIT];
    // A shell's convention, which the engine and its init keep: 128 and the signal's number.
    return name === undefined
      ? { code: status, signal: null, ...ending }
      : { code: null, signal: name, ...ending };
  } catch {
    return LOST;
  }
}

const endSchema = z.object({ StatusCode: z.int() });

/**
 * The exit code, once there is one (Engine API, "Wait for a container"). dockerode's own `wait` never ends when the
 * engine dies after it sent the headers; a stream that is read here does.
 */
async function waitForEnd(container: Docker.Container, signal: AbortSignal): Promise<number> {
  const modem: Docker['modem'] = container.modem;
  const answer = await new Promise<unknown>((resolve, reject) => {
    const options = {
      ...{ path: `/containers/${container.id}/wait`, method: 'POST', abortSignal: signal, isStream: true },
      statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
    };
    modem.dial(options, (error, result) => (error ? reject(error) : resolve(result)));
  });
  if (!(answer instanceof Readable)) throw new Error('the engine answered no stream');
  return endSchema.parse(JSON.parse(await text(addAbortSignal(signal, answer)))).StatusCode;
}

async function wasOutOfMemory(container: Docker.Container, pausesMs: readonly number[]): Promise<boolean> {
  const look = async () => {
    const { State: state } = await container.inspect({ abortSignal: cleanupLimit() });
    return state.OOMKilled;
  };
  try {
    if (await look()) return true;
    for (const pauseMs of pausesMs) {
      await sleep(pauseMs);
      if (await look()) return true;
    }
    return false;
  } catch (error) {
    // Somebody removed it: what we cannot know we do not claim.
    if (statusOf(error) === 404) return false;
    throw error;
  }
}

const SIGNALS: Readonly<Record<number, string>> = {
  ...{ 1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 4: 'SIGILL', 5: 'SIGTRAP', 6: 'SIGABRT', 7: 'SIGBUS' },
  ...{ 8: 'SIGFPE', 9: 'SIGKILL', 10: 'SIGUSR1', 11: 'SIGSEGV', 12: 'SIGUSR2', 13: 'SIGPIPE', 14: 'SIGALRM' },
  ...{ 15: 'SIGTERM', 24: 'SIGXCPU', 25: 'SIGXFSZ', 31: 'SIGSYS' },
};
