import { type Clock, toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import { type Sql, type Tx, withTransaction } from '../../db/index.ts';
import { appendLeaf } from '../log/entries.ts';
import { isLeafField } from '../log/leaf.ts';
import { parsePublicKey, verifySignature } from '../signatures/signature.ts';
import type { PublicKey, SignatureFormat } from '../signatures/verdict.ts';
import { judgeRelease, type ReleaseToJudge, type ReleaseVerdict } from './judge-release.ts';
import { type ReleaseKey, signatureNamespaces, spellProofText } from './release-key.ts';
import {
  countKeys,
  findKey,
  holdKeys,
  insertKey,
  type KeyName,
  listKeys,
  lockKey,
  markRevoked,
} from './store.ts';

/** Of one publisher: keys that count at one moment, and keys ever, each of which is a leaf for good. */
const STANDING_MAX = 16;
const KEYS_MAX = 128;

export type KeyToRegister = {
  publisherId: Uuid;
  format: SignatureFormat;
  /** The key and the proof as the format's tool writes them. */
  key: string;
  proof: string;
  expiresAt: Date | undefined;
};

export type ReleaseKeysDeps = {
  sql: Sql;
  clock: Clock;
  /** Of the version log. */
  logOrigin: string;
  /** Its host is in the namespaces of SSH signatures. */
  publicUrl: string;
};

export type ReleaseKeys = {
  /** What SSH signatures of releases are made for: `ssh-keygen -Y sign -n <namespace>`. */
  readonly releaseNamespace: string;
  /** What the owner of a key signs to register it. */
  proofFor(publisherId: Uuid): { text: string; namespace: string };
  /**
   * Registers a public key whose secret half signed the proof. The same key again answers what the first time came
   * to; a key is registered once for good, and so is what the log says of it.
   */
  register(input: KeyToRegister): Promise<ReleaseKey>;
  /** From now on no release is verified by it; what was published before stays. Again is the same. */
  revoke(name: KeyName): Promise<ReleaseKey>;
  /** Newest first. */
  list(publisherId: Uuid): Promise<ReleaseKey[]>;
  /** With a transaction, the one that publishes: what signed is not revoked before it ends. */
  judge(
    release: Omit<ReleaseToJudge, 'namespace'> & { publisherId: Uuid; tx?: Tx | undefined },
  ): Promise<ReleaseVerdict>;
};

/** Publishers' keys for releases, in the database and the version log alike. */
export function createReleaseKeys(deps: ReleaseKeysDeps): ReleaseKeys {
  const { sql, publicUrl, logOrigin } = deps;
  const namespaces = signatureNamespaces(publicUrl);
  const proofFor = (publisherId: Uuid) => ({
    text: spellProofText(logOrigin, publisherId),
    namespace: namespaces.proof,
  });
  return {
    releaseNamespace: namespaces.release,
    proofFor,
    register: (input) => register(deps, input, proofFor(input.publisherId)),
    revoke: (name) => revoke(deps, name),
    list: (publisherId) => listKeys(sql, publisherId, KEYS_MAX),
    async judge({ publisherId, tx, ...release }) {
      const keys = await (tx ? holdKeys(tx, publisherId, KEYS_MAX) : listKeys(sql, publisherId, KEYS_MAX));
      // A revocation that is here stands earlier in the log, whatever the clocks of two gateways say.
      const known = keys.map((key) => ({
        ...key,
        revokedAt: key.revokedAt && earlierOf(key.revokedAt, release.at),
      }));
      return judgeRelease(known, { ...release, namespace: namespaces.release });
    },
  };
}

async function register(
  deps: ReleaseKeysDeps,
  input: KeyToRegister,
  proof: { text: string; namespace: string },
): Promise<ReleaseKey> {
  const { sql, clock } = deps;
  const key = await parsePublicKey(input.format, input.key);
  if (key.kind === 'refused') throw refuseInput('key', key.reason);
  const verdict = await verifySignature({
    ...{ format: key.format, key: key.bytes, signature: input.proof, namespace: proof.namespace },
    ...{ data: Buffer.from(proof.text, 'utf8'), at: clock.now() },
  });
  if (verdict.kind !== 'valid') throw refuseInput('proof', verdict.reason);
  const expiresAt = earlier(input.expiresAt, key.expiresAt);
  // By the clock that leaves are dated by, and in its seconds: no key ends before it begins.
  if (expiresAt && expiresAt <= clock.now()) throw refuseInput('expires_at', 'must lie ahead');
  const wanted = { key, publisherId: input.publisherId, expiresAt };
  const found = await findKey(sql, { publisherId: input.publisherId, keyId: key.keyId });
  if (found) return answerAgain(found, wanted);
  try {
    return await withTransaction(sql, (tx) => add(deps, tx, wanted));
  } catch (error) {
    // The same request at the same moment was quicker: then its key is there now.
    const other =
      isConflict(error) && (await findKey(sql, { publisherId: input.publisherId, keyId: key.keyId }));
    if (!other) throw error;
    return answerAgain(other, wanted);
  }
}

type WantedKey = { key: PublicKey; publisherId: Uuid; expiresAt: Date | null };

/** The log's lock comes first, so that keys of one publisher are counted and added one after the other. */
async function add(deps: ReleaseKeysDeps, tx: Tx, wanted: WantedKey): Promise<ReleaseKey> {
  const { key, publisherId, expiresAt } = wanted;
  const now = deps.clock.now();
  const addedAt = new Date(toUnixSeconds(now) * 1000);
  const addedIndex = await appendLeaf(tx, {
    ...{ kind: 'key-add', publisher: publisherId, format: key.format, key: key.keyId },
    ...{ public: key.bytes.toString('base64'), expires: expiresAt ? toUnixSeconds(expiresAt) : 0 },
    time: toUnixSeconds(now),
  });
  const counts = await countKeys(tx, publisherId, now);
  if (counts.standing >= STANDING_MAX) {
    throw new Problem('conflict', {
      detail: `A publisher has ${STANDING_MAX} keys at most: revoke one first.`,
    });
  }
  if (counts.all >= KEYS_MAX) {
    throw new Problem('conflict', {
      detail: `A publisher registers ${KEYS_MAX} keys at most, revoked ones included.`,
    });
  }
  const { keyId, format, bytes: publicKey } = key;
  const row = { publisherId, keyId, format, publicKey, expiresAt, addedIndex, addedAt };
  await insertKey(tx, row);
  return { ...row, revokedIndex: null, revokedAt: null };
}

function answerAgain(found: ReleaseKey, wanted: WantedKey): ReleaseKey {
  if (found.revokedAt !== null) {
    throw new Problem('conflict', {
      detail: `Key ${found.keyId} was revoked, which is for good: register another one.`,
    });
  }
  const isSame =
    found.publicKey.equals(wanted.key.bytes) && found.expiresAt?.getTime() === wanted.expiresAt?.getTime();
  if (isSame) return found;
  throw new Problem('conflict', {
    detail: `Key ${found.keyId} is registered already with other content or another end, and the log keeps what it has: register another key.`,
  });
}

async function revoke(deps: ReleaseKeysDeps, name: KeyName): Promise<ReleaseKey> {
  return withTransaction(deps.sql, async (tx) => {
    const key = isLeafField('key', name.keyId) ? await lockKey(tx, name) : undefined;
    if (!key) throw new Problem('not-found', { detail: 'You have no release key with this id.' });
    if (key.revokedAt !== null) return key;
    const time = toUnixSeconds(deps.clock.now());
    const { publisherId: publisher, keyId, format } = key;
    const revokedIndex = await appendLeaf(tx, { kind: 'key-revoke', publisher, format, key: keyId, time });
    const revokedAt = new Date(time * 1000);
    await markRevoked(tx, name, { index: revokedIndex, at: revokedAt });
    return { ...key, revokedIndex, revokedAt };
  });
}

function earlierOf(a: Date, b: Date): Date {
  return a < b ? a : b;
}

/** Whole seconds, as the log has them. */
function earlier(a: Date | undefined, b: Date | undefined): Date | null {
  const times = [a, b].flatMap((date) => (date ? [toUnixSeconds(date)] : []));
  return times.length > 0 ? new Date(Math.min(...times) * 1000) : null;
}

function isConflict(error: unknown): boolean {
  return error instanceof Problem && error.type === 'conflict';
}

function refuseInput(field: 'key' | 'proof' | 'expires_at', reason: string): Problem {
  return new Problem('malformed-request', {
    detail: `${field}: ${reason}.`,
    isUncharged: true,
    members: { field },
  });
}
