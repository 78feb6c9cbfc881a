import { type Clock, toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import { type Sql, type Tx, withTransaction } from '../../db/index.ts';
import { parsePublicKey, verifySignature } from '../signatures/signature.ts';
import type { PublicKey, SignatureFormat } from '../signatures/verdict.ts';
import { judgeRelease, type ReleaseToJudge, type ReleaseVerdict } from './judge-release.ts';
import { type ReleaseKey, type ReleaseKeyLeaf, refuseKeyAt } from './release-key.ts';
import {
  countKeys,
  findKey,
  holdKey,
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
  /** Appends to the version log, in the transaction. */
  append(tx: Tx, leaf: ReleaseKeyLeaf): Promise<bigint>;
};

export type ReleaseKeys = {
  /**
   * Registers a public key whose secret half signed `proofText`. The same key again answers what the first time came
   * to; a key is registered once for good, and so is what the log says of it.
   */
  register(input: KeyToRegister, proof: { text: string; namespace: string }): Promise<ReleaseKey>;
  /** From now on no release is verified by it; what was published before stays. Again is the same. */
  revoke(name: KeyName): Promise<ReleaseKey>;
  /** Newest first. */
  list(publisherId: Uuid): Promise<ReleaseKey[]>;
  judge(publisherId: Uuid, release: ReleaseToJudge): Promise<ReleaseVerdict>;
  /** In the transaction that publishes: throws when the key does not count at the time of the leaf. */
  hold(tx: Tx, name: KeyName, at: Date): Promise<void>;
};

/** Publishers' keys for releases, in the database and the version log alike. */
export function createReleaseKeys(deps: ReleaseKeysDeps): ReleaseKeys {
  const { sql } = deps;
  return {
    register: (input, proof) => register(deps, input, proof),
    revoke: (name) => revoke(deps, name),
    list: (publisherId) => listKeys(sql, publisherId, KEYS_MAX),
    judge: async (publisherId, release) => judgeRelease(await listKeys(sql, publisherId, KEYS_MAX), release),
    async hold(tx, name, at) {
      const key = await holdKey(tx, name);
      if (!key) throw refuseRelease(`key ${name.keyId} is not registered`);
      // A revocation that is here stands earlier in the log, whatever the clocks of two gateways say.
      const reason = refuseKeyAt(key, key.revokedAt !== null && key.revokedAt > at ? key.revokedAt : at);
      if (reason !== undefined) throw refuseRelease(reason);
    },
  };
}

/** The answer to a release whose signature does not hold. */
export function refuseRelease(reason: string): Problem {
  return new Problem('invalid-code', {
    detail: `The signature of this release was refused, and nothing was published: ${reason}.`,
    isUncharged: true,
    members: { field: 'signature' },
  });
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
  const wanted = { key, publisherId: input.publisherId, expiresAt: earlier(input.expiresAt, key.expiresAt) };
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
  const addedIndex = await deps.append(tx, {
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
  const row = {
    publisherId,
    keyId: key.keyId,
    format: key.format,
    publicKey: key.bytes,
    expiresAt,
    addedIndex,
    addedAt,
  };
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

async function revoke({ sql, clock, append }: ReleaseKeysDeps, name: KeyName): Promise<ReleaseKey> {
  return withTransaction(sql, async (tx) => {
    const key = await lockKey(tx, name);
    if (!key) throw new Problem('not-found', { detail: 'You have no release key with this id.' });
    if (key.revokedAt !== null) return key;
    const time = toUnixSeconds(clock.now());
    const { publisherId: publisher, keyId, format } = key;
    const revokedIndex = await append(tx, { kind: 'key-revoke', publisher, format, key: keyId, time });
    const revokedAt = new Date(time * 1000);
    await markRevoked(tx, name, { index: revokedIndex, at: revokedAt });
    return { ...key, revokedIndex, revokedAt };
  });
}

/** Whole seconds, as the log has them. */
function earlier(a: Date | undefined, b: Date | undefined): Date | null {
  const times = [a, b].flatMap((date) => (date ? [toUnixSeconds(date)] : []));
  return times.length > 0 ? new Date(Math.min(...times) * 1000) : null;
}

function isConflict(error: unknown): boolean {
  return error instanceof Problem && error.type === 'conflict';
}

function refuseInput(field: 'key' | 'proof', reason: string): Problem {
  return new Problem('malformed-request', {
    detail: `${field}: ${reason}.`,
    isUncharged: true,
    members: { field },
  });
}
