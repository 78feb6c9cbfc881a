import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import { explainFailure } from './api-fault.ts';

export type State<T> =
  | { kind: 'ready'; value: T }
  /** Not looked at before then. `detail` is one sentence, and public. */
  | { kind: 'resting'; until: number; detail: string };

/** Whether the cluster may be given jails, and when it is to be looked at again. */
export type Health<T> = {
  state(): State<T>;
  recover(value: T): void;
  /** No jails for a while, longer with each failure in a row. */
  rest(error: unknown): void;
  /** What a jail tells; many jails may tell of one failure. */
  fail(error: unknown): void;
};

const REST_MS_FIRST = 1_000;
const REST_MS_MAX = 60_000;

export function createHealth<T>({ clock, log }: { clock: Clock; log: Log }): Health<T> {
  let state: State<T> = {
    kind: 'resting',
    until: 0,
    detail: 'The Kubernetes cluster was not looked at yet.',
  };
  let failures = 0;
  const rest = (error: unknown) => {
    const ms = Math.min(REST_MS_FIRST * 2 ** failures, REST_MS_MAX);
    failures += 1;
    log.warn({ err: error, forMs: ms }, 'the Kubernetes cluster gets no jails for a while');
    const detail = `The Kubernetes cluster cannot run jails: ${explainFailure(error)}`;
    state = { kind: 'resting', until: clock.now().getTime() + ms, detail };
  };
  return {
    state: () => state,
    recover(value) {
      failures = 0;
      state = { kind: 'ready', value };
      log.info({}, 'the Kubernetes cluster is ready');
    },
    rest,
    fail(error) {
      if (state.kind === 'ready') rest(error);
    },
  };
}
