import { Challenge } from 'mppx';
import { z } from 'zod';
import type { Challenged } from '../payer.ts';

/** The `Payment` challenges of one method that can still be answered (draft-ryan-httpauth-payment). */
export function listMppChallenges(challenged: Challenged, method: string): Challenge.Challenge[] {
  try {
    return Challenge.fromHeadersList(challenged.headers).filter(
      (challenge) =>
        challenge.method === method &&
        challenge.intent === 'charge' &&
        (challenge.expires === undefined || new Date(challenge.expires) > challenged.now),
    );
  } catch {
    // No challenge of this scheme, or one that cannot be read: another way to pay may still be.
    return [];
  }
}

/** Atomic units on the wire. */
export const unitsSchema = z
  .string()
  .regex(/^[0-9]{1,40}$/)
  .transform((digits) => BigInt(digits));

export function credentialHeaderOf(challenge: Challenge.Challenge): string {
  return Challenge.credentialHeader(challenge);
}
