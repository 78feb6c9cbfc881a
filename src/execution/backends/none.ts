import { Problem } from '../../core/problem.ts';
import type { Backend } from '../backend.ts';

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
