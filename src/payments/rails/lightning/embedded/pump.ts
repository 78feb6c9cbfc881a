import {
  type Event,
  Event_PendingHTLCsForwardable,
  EventHandler,
  Result_NoneReplayEventZ,
} from 'lightningdevkit';
import type { LdkParts } from './ldk-parts.ts';

export type PumpDeps = {
  parts: LdkParts;
  /** Keeps all that is not kept yet; true when LDK may go on with something. */
  keep: () => boolean;
  /** Called when nothing waits to be kept. */
  tidy: () => void;
  /** Nothing is kept any more after it was called. */
  fail: (cause: unknown) => void;
};

/** What makes LDK move: it does nothing by itself. Whatever is asked within one turn of the loop shares a commit. */
export type Pump = {
  commit(): Promise<void>;
  run(work: () => void): void;
  later(work: () => void): void;
  tellHeight(height: number): void;
  onEvent(listener: (event: Event) => void): void;
  onHeight(listener: (height: number) => void): void;
  onCommit(listener: () => void): () => void;
  close(): void;
};

export function createPump(deps: PumpDeps): Pump {
  const onEvents: ((event: Event) => void)[] = [];
  const onHeights: ((height: number) => void)[] = [];
  const onCommits = new Set<() => void>();
  const works: (() => void)[] = [];
  let waiting: (() => void)[] = [];
  let isScheduled = false;
  let isClosed = false;
  const work = createWork(deps, works, (event) => {
    for (const tell of onEvents) tell(event);
  });
  const turn = () => {
    isScheduled = false;
    if (isClosed) return;
    const done = waiting;
    waiting = [];
    try {
      work();
    } catch (cause) {
      isClosed = true;
      deps.fail(cause);
      return;
    }
    for (const resolve of done) resolve();
    for (const tell of onCommits) tell();
  };
  const schedule = () => {
    if (isScheduled || isClosed) return;
    isScheduled = true;
    setImmediate(turn);
  };
  return {
    commit: () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve);
        schedule();
      }),
    run: (now) => {
      now();
      schedule();
    },
    later: (then) => {
      works.push(then);
      schedule();
    },
    tellHeight: (height) => {
      for (const tell of onHeights) tell(height);
    },
    onEvent: (listener) => void onEvents.push(listener),
    onHeight: (listener) => void onHeights.push(listener),
    onCommit: (listener) => {
      onCommits.add(listener);
      return () => onCommits.delete(listener);
    },
    close: () => {
      isClosed = true;
    },
  };
}

/** One turn: messages and events until LDK is quiet and everything is kept. */
function createWork(
  { parts, keep, tidy }: PumpDeps,
  works: (() => void)[],
  tellEvent: (event: Event) => void,
): () => void {
  let eventsHandled = 0;
  let failure: { cause: unknown } | undefined;
  const handler = EventHandler.new_impl({
    handle_event: (event) => {
      try {
        eventsHandled += 1;
        if (event instanceof Event_PendingHTLCsForwardable) {
          // The delay that LDK proposes hides who pays whom, which is known here.
          works.push(() => parts.manager.process_pending_htlc_forwards());
        }
        tellEvent(event);
      } catch (cause) {
        // LDK takes the event for handled: what follows must not be kept.
        failure ??= { cause };
      }
      return Result_NoneReplayEventZ.constructor_ok();
    },
  });
  return () => {
    for (let isQuiet = false; !isQuiet; ) {
      eventsHandled = 0;
      parts.peerManager.process_events();
      parts.manager.as_EventsProvider().process_pending_events(handler);
      parts.chainMonitor.as_EventsProvider().process_pending_events(handler);
      const due = works.splice(0);
      for (const work of due) work();
      if (failure !== undefined) throw failure.cause;
      parts.peerManager.process_events();
      // What was done or may now go on can have led to further events.
      isQuiet = !keep() && due.length === 0 && eventsHandled === 0;
    }
    tidy();
  };
}
