import type { PodFeed } from './pod-feed.ts';
import { judgePod, type PodState } from './pod-state.ts';

export type PodEnd = Extract<PodState, { kind: 'ended' | 'lost' }>;

/** One pod, from before it is created until it is gone. */
export type PodLife = {
  created(): void;
  /** Throws, in words, when it will not run, or not in time. */
  runs(limit: AbortSignal): Promise<void>;
  readonly ended: Promise<PodEnd>;
  isOver(): boolean;
  readonly gone: Promise<void>;
  isGone(): boolean;
  /** Nobody wants to know more. */
  end(): void;
};

export function followPod(feed: PodFeed, name: string): PodLife {
  let state: PodState = { kind: 'starting', isWithoutNode: false };
  let isGone = false;
  const running = createSignal<void>();
  const ended = createSignal<PodEnd>();
  const gone = createSignal<void>();
  const followed = feed.follow(name, {
    onPod(pod) {
      const next = judgePod(pod);
      if (state.kind === 'ended' || state.kind === 'lost') return;
      state = next;
      if (next.kind === 'running') running.tell();
      if (next.kind === 'ended' || next.kind === 'lost') ended.tell(next);
    },
    onGone() {
      isGone = true;
      if (state.kind !== 'ended' && state.kind !== 'lost') {
        state = { kind: 'lost', why: 'somebody deleted its pod' };
        ended.tell(state);
      }
      gone.tell();
    },
  });
  return {
    created: followed.created,
    async runs(limit) {
      const late = new Promise<void>((_resolve, reject) => {
        if (limit.aborted) reject(limit.reason);
        limit.addEventListener('abort', () => reject(limit.reason), { once: true });
      });
      const over = ended.told.then((end) => {
        throw new Error(
          end.kind === 'lost' ? `${end.why}.` : `a jail ended before it was attached to (${end.reason}).`,
        );
      });
      try {
        await Promise.race([running.told, over, late]);
      } catch (error) {
        if (state.kind === 'starting' && limit.aborted && isTimeout(limit.reason))
          throw new Error(explainWait(state));
        throw error;
      }
    },
    ended: ended.told,
    isOver: () => state.kind === 'ended' || state.kind === 'lost',
    gone: gone.told,
    isGone: () => isGone,
    end: followed.end,
  };
}

function explainWait({ isWithoutNode }: Extract<PodState, { kind: 'starting' }>): string {
  return isWithoutNode
    ? 'no node has room for a jail, or none fits its runtime class.'
    : 'its pods do not start in time.';
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === 'TimeoutError';
}

function createSignal<T>(): { told: Promise<T>; tell(value: T): void } {
  let tell = (_value: T) => {};
  const told = new Promise<T>((resolve) => {
    tell = resolve;
  });
  return { told, tell: (value) => tell(value) };
}
