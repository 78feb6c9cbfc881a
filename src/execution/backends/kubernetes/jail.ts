import { setTimeout as sleep } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import type { Log } from '../../../core/log.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { Exit, Jail, KillReason } from '../../backend.ts';
import { READY_LINE } from '../../inject.ts';
import { ApiFault } from './api-fault.ts';
import { type Attachment, attach } from './attachment.ts';
import type { Cluster } from './cluster.ts';
import type { PodFeed } from './pod-feed.ts';
import { followPod, type PodLife } from './pod-life.ts';
import { CONTAINER } from './pod-spec.ts';
import type { Pods } from './pods.ts';

export type JailInput = {
  cluster: Cluster;
  namespace: string;
  pods: Pods;
  feed: PodFeed;
  name: string;
  pod: V1Pod;
  /** How long the pod may take to run; the first of an image has to be pulled. */
  startTimeoutMs: number;
  log: Log;
  /** Called once, when nothing of the jail is left, or when it cannot be known what is. */
  onGone(exit: Exit): void;
};

/** Creates a pod, waits until it runs, and attaches to it. Whatever fails, nothing of it stays. */
export async function startJail(input: JailInput, signal: AbortSignal): Promise<Jail> {
  const { cluster, namespace, pods, name, pod, startTimeoutMs } = input;
  const life = followPod(input.feed, name);
  try {
    // Not ended with the caller: a server that is asked no more may still create it, and nobody would remove it.
    await pods.create(pod, cleanupLimit());
  } catch (error) {
    if (isRefusal(error)) life.end();
    else await giveUp(input, life);
    throw error;
  }
  try {
    life.created();
    const limit = timeLimit(signal, startTimeoutMs);
    await life.runs(limit);
    const attachment = await attach({ cluster, namespace, podName: name, container: CONTAINER }, limit);
    try {
      await becomeReady(input, { life, attachment }, limit);
      return openJail(input, life, attachment);
    } catch (error) {
      attachment.close();
      throw error;
    }
  } catch (error) {
    await giveUp(input, life);
    throw error;
  }
}

/** A later sweep finds what a server that does not answer keeps. */
async function giveUp(input: JailInput, life: PodLife): Promise<void> {
  const removal = removePod(input, life)
    .catch((error: unknown) => input.log.warn({ err: error, jail: input.name }, 'a pod is left for a sweep'))
    .finally(() => life.end());
  await Promise.race([removal, sleep(GIVE_UP_MS, undefined, { ref: false })]);
}

function isRefusal(error: unknown): boolean {
  return error instanceof ApiFault && error.status < 500;
}

function openJail(input: JailInput, life: PodLife, attachment: Attachment): Jail {
  const { name, log } = input;
  let isKilled = false;
  const exit = learnExit(life, attachment, () => isKilled);
  let removal: Promise<void> | undefined;
  const remove = () => {
    removal ??= removePod(input, life).finally(() => {
      attachment.close();
      life.end();
    });
    return removal;
  };
  const gone = exit.then(async (ending) => {
    // What it still said is on its way; who is not read from is killed.
    await Promise.race([attachment.end, sleep(LAST_WORDS_MS, undefined, { ref: false })]);
    await remove().finally(() => input.onGone(ending));
  });
  // Whoever calls kill() hears of a failure; a jail that ends on its own must not end the gateway.
  gone.catch((error: unknown) => log.error({ err: error, jail: name }, 'a jail left something behind'));
  const kill = async (reason: KillReason) => {
    log.debug({ jail: name, reason }, 'killing a jail');
    isKilled = true;
    attachment.close();
    await remove();
    await gone;
  };
  const { stdin, stdout, stderr } = attachment;
  return { id: name, stdin, stdout, stderr, kill, exit };
}

const REQUEST_TIMEOUT_MS = 10_000;
/** The kubelet confirms the end of a pod's processes only when there is some grace. */
const GRACE_SECONDS = 1;
const GONE_TIMEOUT_MS = 20_000;
const FORCED_TIMEOUT_MS = 10_000;
const POLL_MS = 1_000;
const GIVE_UP_MS = 1_000;
const LAST_WORDS_MS = 3_000;
/** A pod's end comes by the watch, the end of its output by the connection, in any order. */
const NEWS_MS = 10_000;
const LOG_POLL_MS = 50;

const LOST: Exit = { code: null, signal: null, isOutOfMemory: false, isBackendFailure: true };
const KILLED: Exit = { code: null, signal: 'SIGKILL', isOutOfMemory: false, isBackendFailure: false };

function cleanupLimit(ms = REQUEST_TIMEOUT_MS): AbortSignal {
  return timeLimit(new AbortController().signal, ms);
}

/**
 * Deletes a pod and resolves when it is gone. A node that does not answer keeps its pod; that is then forgotten by
 * force, so that names are free, and is said.
 */
async function removePod({ pods, name, log }: JailInput, life: PodLife): Promise<void> {
  if (life.isGone()) return;
  const limit = cleanupLimit(GONE_TIMEOUT_MS);
  await askToRemove(pods, { name, graceSeconds: GRACE_SECONDS }, limit);
  if (await isGoneWithin(pods, { name, life }, limit)) return;
  log.error({ jail: name }, 'a node does not confirm the end of a jail, which is now deleted by force');
  const forced = cleanupLimit(FORCED_TIMEOUT_MS);
  await askToRemove(pods, { name, graceSeconds: 0 }, forced);
  if (!(await isGoneWithin(pods, { name, life }, forced))) throw new Error(`the pod ${name} stays`);
}

/** Again and again: a server that is down for a moment keeps the pod. */
async function askToRemove(
  pods: Pods,
  { name, graceSeconds }: { name: string; graceSeconds: number },
  limit: AbortSignal,
): Promise<void> {
  for (;;) {
    try {
      return await pods.remove(name, graceSeconds, limit);
    } catch (error) {
      if (limit.aborted || (error instanceof ApiFault && error.status < 500)) throw error;
      await sleep(POLL_MS, undefined, { ref: false });
    }
  }
}

/** By the watch, and by asking as well, in case it was cut off. */
async function isGoneWithin(pods: Pods, { name, life }: { name: string; life: PodLife }, limit: AbortSignal) {
  while (!limit.aborted) {
    await Promise.race([life.gone, sleep(POLL_MS, undefined, { ref: false })]);
    if (life.isGone()) return true;
    const pod = await pods.read(name, limit).catch(() => 'unknown' as const);
    if (pod === undefined) return true;
  }
  return false;
}

/**
 * Attaching repeats nothing, and the bootstrap speaks as soon as it runs: its line is in the log, or comes by the
 * connection when we were faster. Told once either way. Throws when neither comes about.
 */
async function becomeReady(
  { pods, name }: JailInput,
  { life, attachment }: { life: PodLife; attachment: Attachment },
  limit: AbortSignal,
): Promise<void> {
  let isBroken = false;
  const broken = attachment.end.then(() => {
    isBroken = true;
  });
  while (!attachment.isReady()) {
    if (life.isOver()) throw new Error('a jail ended before its bootstrap was ready.');
    if (isBroken) throw new Error('the connection to a jail broke before its bootstrap was ready.');
    const text = await pods.readLog(name, CONTAINER, limit).catch((error: unknown) => {
      // The log of a container that just started may not be there yet.
      if (limit.aborted || (error instanceof ApiFault && (error.status === 401 || error.status === 403)))
        throw error;
      return '';
    });
    if (text.startsWith(`${READY_LINE}\n`)) return attachment.noteReady();
    await Promise.race([broken, sleep(LOG_POLL_MS, undefined, { ref: false })]);
    limit.throwIfAborted();
  }
}

/** How the jail ended. What the cluster does to a pod, or a connection that breaks, is never the tool's failure. */
async function learnExit(life: PodLife, attachment: Attachment, isKilled: () => boolean): Promise<Exit> {
  const broken = attachment.end.then(async (how) => {
    if (how === 'broken' && !isKilled()) return LOST;
    await sleep(isKilled() ? GONE_TIMEOUT_MS + FORCED_TIMEOUT_MS : NEWS_MS, undefined, { ref: false });
    return isKilled() ? KILLED : LOST;
  });
  const ended = life.ended.then((end): Exit => {
    if (isKilled() && end.kind !== 'ended') return KILLED;
    if (end.kind !== 'ended') return LOST;
    const { code, signal, isOutOfMemory } = end;
    return { code, signal, isOutOfMemory, isBackendFailure: false };
  });
  return Promise.race([ended, broken]);
}
