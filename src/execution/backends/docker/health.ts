import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import { statusOf } from './engine.ts';

export type State<T> =
  | { kind: 'ready'; value: T }
  /** Quarantined until then, or never looked at. `detail` is one sentence, and public. */
  | { kind: 'resting'; until: number; detail: string };

/** Whether one engine may be given jails, and when it is to be looked at again. */
export type Health<T> = {
  state(): State<T>;
  recover(value: T): void;
  /** No jails for a while, longer with each failure in a row. */
  quarantine(error: unknown): void;
  /** No jails until it was looked at again, which may be at once. */
  doubt(why: string): void;
  /** What a jail tells; many jails may tell of one failure. */
  fail(error: unknown): void;
};

export type HealthDeps = {
  /** In public, and for the log. */
  label: string;
  name: string;
  clock: Clock;
  log: Log;
};

const REST_MS_FIRST = 1_000;
const REST_MS_MAX = 60_000;

export function createHealth<T>({ label, name, clock, log }: HealthDeps): Health<T> {
  let state: State<T> = { kind: 'resting', until: 0, detail: '' };
  let failures = 0;
  const rest = (detail: string, ms: number) => {
    state = { kind: 'resting', until: clock.now().getTime() + ms, detail };
  };
  const quarantine = (error: unknown) => {
    const ms = Math.min(REST_MS_FIRST * 2 ** failures, REST_MS_MAX);
    failures += 1;
    log.warn({ err: error, engine: name, forMs: ms }, 'a Docker host is quarantined');
    rest(explain(label, error), ms);
  };
  const doubt = (why: string) => {
    log.info({ engine: name, why }, 'a Docker host is looked at again');
    rest(`${label} is being looked at again.`, 0);
  };
  return {
    state: () => state,
    recover(value) {
      failures = 0;
      state = { kind: 'ready', value };
      log.info({ engine: name }, 'a Docker host is ready');
    },
    quarantine,
    doubt,
    fail(error) {
      if (state.kind === 'resting') return;
      // What was removed from under us is brought again; no rest helps that.
      if (statusOf(error) === 404) doubt('something of ours was removed from it');
      else quarantine(error);
    },
  };
}

/** One public sentence: where engines are, and what they say of their machines, is for the log. */
function explain(label: string, error: unknown): string {
  return `${label} cannot run jails: ${findReason(error)}`;
}

function findReason(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed.';
  const status = statusOf(error);
  if (status !== undefined) return `it answered with HTTP ${status}, about which the log says more.`;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === 'ABORT_ERR' || error.name === 'TimeoutError') return 'it did not answer in time.';
  if (code !== undefined) return `it cannot be reached (${code}).`;
  return error.message.replace(/\s+/g, ' ').trim().slice(0, 300);
}
