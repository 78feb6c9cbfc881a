import type { Uuid } from '../../core/ids.ts';
import type { SignatureFormat } from '../signatures/verdict.ts';

/** A publisher's public key, as the version log has it. */
export type ReleaseKey = {
  publisherId: Uuid;
  /** `PublicKey.keyId` of signatures. */
  keyId: string;
  format: SignatureFormat;
  /** `PublicKey.bytes` of signatures. */
  publicKey: Buffer;
  /** The earlier of what its publisher said and what the key says. */
  expiresAt: Date | null;
  addedIndex: bigint;
  addedAt: Date;
  revokedIndex: bigint | null;
  revokedAt: Date | null;
};

/** Why a key does not count at that moment; undefined when it does. */
export function refuseKeyAt(key: Omit<ReleaseKey, 'publicKey'>, at: Date): string | undefined {
  const { keyId, addedAt, revokedAt, expiresAt } = key;
  if (addedAt > at) return `key ${keyId} was registered on ${addedAt.toISOString()}, later than that`;
  if (revokedAt !== null && revokedAt <= at) return `key ${keyId} was revoked on ${revokedAt.toISOString()}`;
  if (expiresAt !== null && expiresAt <= at) return `key ${keyId} expired on ${expiresAt.toISOString()}`;
  return undefined;
}

/**
 * What the owner of a key signs to register it: the publisher is named, so that nobody registers another one's public
 * key and passes his signatures off as his own.
 */
export function spellProofText(logOrigin: string, publisherId: Uuid): string {
  return `mcp-release-key/v1\n${logOrigin}\n${publisherId}\n`;
}

/** What SSH signatures are made for (`ssh-keygen -Y sign -n`): one of a release proves no key, and the other way round. */
export function signatureNamespaces(publicUrl: string): { release: string; proof: string } {
  const { host } = new URL(publicUrl);
  return { release: `mcp-release@${host}`, proof: `mcp-release-key@${host}` };
}
