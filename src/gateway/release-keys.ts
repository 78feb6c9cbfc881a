import { sha256Hex } from '../core/bytes.ts';
import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import type { Tx } from '../db/index.ts';
import { hasScope, type Principal, takeFromWindow } from '../keys/index.ts';
import type { KeyToRegister, ReleaseKey, SignatureFormat } from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';

const HOUR_MS = 60 * 60 * 1000;
/** Each is a leaf in the log for good. */
const CHANGES_PER_HOUR = 30;

export type ReleaseKeyDeps = Pick<GatewayDeps, 'sql' | 'releaseKeys'>;

/** What a publisher needs to know to register a key, and the keys it has. */
export type ReleaseKeyList = {
  publisherId: Uuid;
  keys: ReleaseKey[];
  proof: { text: string; namespace: string };
  releaseNamespace: string;
};

/** Registers a key with which a publisher signs its releases. */
export async function registerReleaseKey(
  deps: ReleaseKeyDeps,
  principal: Principal,
  input: Omit<KeyToRegister, 'publisherId'>,
): Promise<ReleaseKey> {
  const publisherId = requirePublisher(principal);
  await takeChange(deps, publisherId);
  return deps.releaseKeys.register({ ...input, publisherId });
}

export async function revokeReleaseKey(
  deps: ReleaseKeyDeps,
  principal: Principal,
  keyId: string,
): Promise<ReleaseKey> {
  // Not counted: a lost key must be revocable at any time, and only what was registered can be.
  return deps.releaseKeys.revoke({ publisherId: requirePublisher(principal), keyId });
}

export async function listReleaseKeys(deps: ReleaseKeyDeps, principal: Principal): Promise<ReleaseKeyList> {
  const publisherId = requirePublisher(principal);
  const { releaseKeys } = deps;
  const keys = await releaseKeys.list(publisherId);
  const { releaseNamespace } = releaseKeys;
  return { publisherId, keys, releaseNamespace, proof: releaseKeys.proofFor(publisherId) };
}

/** What a version's manifest says of its signature. */
export type CheckedRelease = {
  format: SignatureFormat;
  keyId: string;
  /** SHA-256 of the signature's text, hex. */
  sha256: string;
};

export type ReleaseToCheck = {
  publisherId: Uuid;
  signature: string;
  /** The canonical archive, whose SHA-256 is the version's code hash. */
  archive: Uint8Array;
  /** The time of the leaf. */
  at: Date;
  /** The transaction that publishes, where it is already under way: the key is not revoked before it ends. */
  tx?: Tx | undefined;
};

/** The key that signed a release. Throws when none of its publisher's keys did that counts at that time. */
export async function checkRelease(
  { releaseKeys }: Pick<ReleaseKeyDeps, 'releaseKeys'>,
  release: ReleaseToCheck,
): Promise<CheckedRelease> {
  const verdict = await releaseKeys.judge(release);
  if (verdict.kind === 'refused') throw refuseRelease(verdict.reason);
  const { format, keyId } = verdict;
  return { format, keyId, sha256: sha256Hex(release.signature) };
}

function refuseRelease(reason: string): Problem {
  return new Problem('invalid-code', {
    detail: `The signature of this release was refused, and nothing was published: ${reason}.`,
    isUncharged: true,
    members: { field: 'signature' },
  });
}

function requirePublisher(principal: Principal): Uuid {
  if (hasScope(principal, 'publish') && principal.publisherId) return principal.publisherId;
  throw new Problem('forbidden', {
    detail: 'Release keys belong to publishers: sign up with {"role":"publisher"}.',
    isUncharged: true,
  });
}

async function takeChange({ sql }: ReleaseKeyDeps, publisherId: Uuid): Promise<void> {
  const window = { name: `release-keys:${publisherId}`, max: CHANGES_PER_HOUR, windowMs: HOUR_MS };
  const take = await takeFromWindow(sql, window);
  if (take.kind === 'taken') return;
  throw new Problem('too-many-requests', {
    detail: `A publisher registers at most ${CHANGES_PER_HOUR} keys an hour.`,
    retryAfterSeconds: take.retryAfterSeconds,
    isUncharged: true,
  });
}
