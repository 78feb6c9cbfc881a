import { findOnPath } from '../../dev/bound-child.ts';
import { runUndici } from './load-undici.ts';
import { runWrk } from './load-wrk.ts';

/** What is asked for, by how many connections, and for how long. */
export type LoadRequest = {
  url: string;
  headers: Record<string, string>;
  connections: number;
  seconds: number;
};

export type LoadAnswer = {
  answers: number;
  perSecond: number;
  /** Answers whose status was not 2xx or 3xx. */
  refused: number;
  /** Connections that failed or timed out. */
  broken: number;
};

/** Sends as many requests as the server takes, from a process of its own. */
export type LoadGenerator = { name: string; run(request: LoadRequest): Promise<LoadAnswer> };

/** wrk where it is installed: it costs least itself. Else one of our own, with which rates are its own limit. */
export function chooseLoadGenerator(pin: string[]): LoadGenerator {
  return findOnPath('wrk') === undefined
    ? { name: 'built in (undici); wrk is not installed', run: (request) => runUndici(request, pin) }
    : { name: 'wrk', run: (request) => runWrk(request, pin) };
}
