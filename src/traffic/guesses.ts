import { hash } from 'node:crypto';
import type { Limiter } from './limiter.ts';

/**
 * Keys that are none, by the address they came from: each costs a question to the database, and may be a guess.
 * An address that sent too many has to wait with keys that we do not know, however many it sent at once.
 */
export type Guesses = {
  /** Seconds until the address may try this key; 0 when it may. */
  waitOf(address: string, keyText: string): number;
  noteWrong(address: string): void;
  /** A key that was good stays usable from an address that somebody else guesses from. */
  noteRight(address: string, keyText: string): void;
};

const VOUCHED_MAX = 10_000;
/** However many wrong keys came at once, nobody waits for longer. */
const WAIT_SECONDS_MAX = 60;

export function createGuesses(limiter: Limiter, vouchedMax: number = VOUCHED_MAX): Guesses {
  const vouched = new Set<string>();
  return {
    waitOf(address, keyText) {
      const wait = limiter.waitOf(address);
      return wait > 0 && !vouched.has(fingerprint(keyText)) ? wait : 0;
    },
    noteWrong(address) {
      limiter.owe(address, WAIT_SECONDS_MAX);
    },
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
