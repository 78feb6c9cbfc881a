import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Log } from '../../../core/log.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { Cluster } from './cluster.ts';
import { OWNER_LABEL } from './labels.ts';
import { type Pod, podSchema } from './pod-state.ts';
import type { Pods } from './pods.ts';

export type PodListener = {
  onPod(pod: Pod): void;
  /** It is there no more. */
  onGone(): void;
};

/** What becomes of the pods of one owner: one watch for all of them. */
export type PodFeed = {
  /** Hears of a pod that is going to be created; the answer ends that. */
  follow(name: string, listener: PodListener): { created(): void; end(): void };
  /** Ends with the last pod that is followed now. */
  retire(): void;
  close(): void;
};

export type PodFeedInput = { cluster: Cluster; pods: Pods; ownerId: string; log: Log };

type Followed = PodListener & { isCreated: boolean };

const WATCH_SECONDS = 240;
/** The server ends a watch by itself before that. */
const WATCH_LIMIT_MS = (WATCH_SECONDS + 30) * 1000;
const PAUSE_MS_FIRST = 50;
const PAUSE_MS_MAX = 5_000;

const eventSchema = z.object({
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']),
  object: z.unknown(),
});

/**
 * Lists and watches (Kubernetes API concepts, "Efficient detection of changes"): after each watch that ends, was cut off
 * or is too old, everything is listed again, so that nothing is missed for good.
 */
export function createPodFeed(input: PodFeedInput): PodFeed {
  const followed = new Map<string, Followed>();
  const closing = new AbortController();
  let isRunning = false;
  let isRetired = false;
  const endIfRetired = () => {
    if (isRetired && followed.size === 0) closing.abort();
  };
  const begin = () => {
    if (isRunning || closing.signal.aborted) return;
    isRunning = true;
    void run({ ...input, followed, closing: closing.signal }).finally(() => {
      isRunning = false;
      if (followed.size > 0) begin();
    });
  };
  return {
    follow(name, listener) {
      const entry = { ...listener, isCreated: false };
      followed.set(name, entry);
      begin();
      return {
        created() {
          entry.isCreated = true;
        },
        end() {
          followed.delete(name);
          endIfRetired();
        },
      };
    },
    retire() {
      isRetired = true;
      endIfRetired();
    },
    close: () => closing.abort(),
  };
}

type Parts = PodFeedInput & { followed: Map<string, Followed>; closing: AbortSignal };

/** As long as anybody wants to know. */
async function run(parts: Parts): Promise<void> {
  const { cluster, followed, closing, log } = parts;
  let pauseMs = PAUSE_MS_FIRST;
  while (followed.size > 0 && !closing.aborted) {
    try {
      const resourceVersion = await list(parts);
      pauseMs = PAUSE_MS_FIRST;
      await watch(parts, resourceVersion);
    } catch (error) {
      if (closing.aborted) return;
      log.info({ err: error, cluster: cluster.server }, 'the watch of the jails was cut off');
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    }
    await sleep(pauseMs, undefined, { signal: closing, ref: false }).catch(() => undefined);
  }
}

async function list({ pods, ownerId, followed, closing }: Parts): Promise<string> {
  const expected = new Map([...followed].filter(([, { isCreated }]) => isCreated));
  const listed = await pods.list(`${OWNER_LABEL}=${ownerId}`, closing);
  for (const pod of listed.pods) {
    followed.get(pod.metadata.name)?.onPod(pod);
    expected.delete(pod.metadata.name);
  }
  for (const [name, { onGone }] of expected) if (followed.has(name)) onGone();
  return listed.resourceVersion;
}

async function watch(parts: Parts, resourceVersion: string): Promise<void> {
  const { cluster, pods, ownerId, closing } = parts;
  const query = {
    ...{ watch: 'true', labelSelector: `${OWNER_LABEL}=${ownerId}`, resourceVersion },
    ...{ allowWatchBookmarks: 'true', timeoutSeconds: `${WATCH_SECONDS}` },
  };
  const limit = timeLimit(closing, WATCH_LIMIT_MS);
  const answer = await cluster.listen({ method: 'GET', path: pods.path, query }, limit);
  try {
    for await (const line of createInterface(answer)) if (!hear(parts, line)) return;
  } finally {
    answer.destroy();
  }
}

/** Whether to go on. */
function hear({ followed }: Parts, line: string): boolean {
  const event = eventSchema.parse(JSON.parse(line));
  if (event.type === 'ERROR') return false;
  if (event.type === 'BOOKMARK') return true;
  const pod = podSchema.parse(event.object);
  const listener = followed.get(pod.metadata.name);
  listener?.onPod(pod);
  if (event.type === 'DELETED') listener?.onGone();
  return true;
}
