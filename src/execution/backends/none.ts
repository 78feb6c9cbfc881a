import { Problem } from '../../core/problem.ts';
import type { Backend } from '../backend.ts';
import type { RemoteServers } from '../exchange.ts';

/** Runs nothing and says why: hosted calls answer 503, and everything else works. */
export function createNoBackend(detail: string): Backend {
  return {
    name: 'none',
    status: async () => ({ kind: 'unavailable', detail }),
    acquire: () => Promise.reject(new Problem('unavailable', { detail, isUncharged: true })),
    sweep: async () => 0,
    close: async () => {},
  };
}

/** Reaches no publisher's own server: their calls answer 503. */
export function createNoRemote(): RemoteServers {
  const refuse = () =>
    Promise.reject(
      new Problem('unavailable', { detail: 'Self-hosted servers are not served here.', isUncharged: true }),
    );
  return { exchange: refuse, greet: refuse, findOutage: () => undefined, close: async () => {} };
}
