import { type Hex, keccak256, slice, stringToHex } from 'viem';

/**
 * Whether a memo is the one that pays a challenge: the MPP tag and version 1, the realm's fingerprint, ten
 * bytes of the client's own, and seven bytes of the challenge id's hash.
 */
export function isMemoOf(memo: Hex, challenge: { challengeId: string; realm?: string | undefined }): boolean {
  if (slice(memo, 0, 5) !== PREFIX) return false;
  const { realm, challengeId } = challenge;
  if (realm !== undefined && slice(memo, 5, 15) !== slice(keccak256(stringToHex(realm)), 0, 10)) return false;
  return slice(memo, 25, 32) === slice(keccak256(stringToHex(challengeId)), 0, 7);
}

const VERSION = '01';
const PREFIX = `${slice(keccak256(stringToHex('mpp')), 0, 4)}${VERSION}`;
