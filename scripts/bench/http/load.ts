import { findOnPath } from '../../dev/bound-child.ts';
import { runUndici } from './load-undici.ts';
import { runWrk } from './load-wrk.ts';
import type { Pins } from './pins.ts';

/** What is asked for, by how many connections, and for how long. */
export type LoadRequest = {
  url: string;
  headers: Record<string, string>;
  /** Bearer keys: each is a caller's with connections of its own, as many as the others'. */
  keys: readonly string[];
  /** In all. */
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

/** For the report: which generator it was, and whether it and the servers had a core each. */
export function describeLoad({ name }: LoadGenerator, { areOn }: Pins): string {
  return `${name}, ${areOn ? 'servers and load pinned to a core each' : 'nothing pinned'}`;
}
