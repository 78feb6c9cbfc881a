import { hash } from 'node:crypto';
import type { Limiter } from './limiter.ts';

/**
 * Keys that are none, by the address they came from: each costs a question to the database, and may be a guess.
 * An address that sent too many has to wait with keys that we do not know, however many it sent at once.
 */
export type Guesses = {
  /** Seconds until the address may try this key; 0 when it may. */
  waitOf(address: string, keyText: string): number;
  noteWrong(address: string, keyText: string): void;
  /** The same key again, which is no guess: a client that does not know that its key was revoked. */
  isWrong(keyText: string): boolean;
  /** A key that was good stays usable from an address that somebody else guesses from. */
  noteRight(address: string, keyText: string): void;
};

const VOUCHED_MAX = 10_000;
const WRONG_MAX = 10_000;
/** A key that is none never becomes one; a clock that is set back may make an expired one good again. */
const WRONG_MS = 10_000;
/** However many wrong keys came at once, nobody waits for longer. */
const WAIT_SECONDS_MAX = 60;

export function createGuesses(limiter: Limiter, vouchedMax: number = VOUCHED_MAX): Guesses {
  const vouched = new Set<string>();
  /** Until when, on a clock that never goes backwards. */
  const wrong = new Map<string, number>();
  return {
    waitOf(address, keyText) {
      const wait = limiter.waitOf(address);
      return wait > 0 && !vouched.has(fingerprint(keyText)) ? wait : 0;
    },
    noteWrong(address, keyText) {
      limiter.owe(address, WAIT_SECONDS_MAX);
      const name = fingerprint(keyText);
      wrong.delete(name);
      wrong.set(name, performance.now() + WRONG_MS);
      if (wrong.size <= WRONG_MAX) return;
      const [oldest] = wrong.keys();
      if (oldest !== undefined) wrong.delete(oldest);
    },
    isWrong: (keyText) => (wrong.get(fingerprint(keyText)) ?? 0) > performance.now(),
    noteRight(address, keyText) {
      if (!limiter.isInUse(address)) return;
      const name = fingerprint(keyText);
      // The least recently used leaves first: a set remembers in which order its members came.
      vouched.delete(name);
      vouched.add(name);
      if (vouched.size <= vouchedMax) return;
      const [oldest] = vouched;
      if (oldest !== undefined) vouched.delete(oldest);
    },
  };
}

function fingerprint(keyText: string): string {
  return hash('sha256', keyText, 'base64url');
}
