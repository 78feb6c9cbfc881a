import type { Key, Subkey } from 'openpgp';
import {
  describeError,
  loadOpenpgp,
  type Openpgp,
  readBinary,
  refuseAlgorithm,
  strictConfig,
} from './openpgp-rules.ts';
import { type PublicKey, type Refusal, refuse } from './verdict.ts';

export type Certificate = { kind: 'certificate'; key: Key };

/** What is looked at costs time, each signature some of it. */
const USERS_MAX = 16;
const SUBKEYS_MAX = 16;
const SIGNATURES_MAX = 64;

/**
 * A public key as `gpg --export` writes it, armored or base64. Other people's certifications and pictures are left
 * out: what is kept is what GnuPG's `export-minimal` keeps, and what judging the key takes.
 */
export async function readOpenpgpKey(text: string): Promise<PublicKey | Refusal> {
  const binary = readBinary(text, 'PGP PUBLIC KEY BLOCK');
  if (!binary) return refuse('this is not an OpenPGP public key: gpg --armor --export writes one');
  const openpgp = await loadOpenpgp();
  const certificate = await readCertificate(openpgp, binary);
  if (certificate.kind === 'refused') return certificate;
  const { key } = certificate;
  try {
    const expiry = await key.getExpirationTime(undefined, strictConfig(openpgp));
    if (expiry === null)
      return refuse('the key has no signature of its own that is sound: a user id, and not by SHA-1');
    return {
      kind: 'key',
      format: 'openpgp',
      keyId: key.getFingerprint().toUpperCase(),
      bytes: Buffer.from(key.write()),
      expiresAt: expiry instanceof Date ? expiry : undefined,
    };
  } catch (error) {
    return refuse(`the OpenPGP key cannot be read: ${describeError(error)}`);
  }
}

/** One certificate that is not revoked, and of bounded size. */
export async function readCertificate(openpgp: Openpgp, binary: Uint8Array): Promise<Certificate | Refusal> {
  let key: Key;
  try {
    const keys = await openpgp.readKeys({ binaryKeys: binary, config: strictConfig(openpgp) });
    const [only] = keys;
    if (!only || keys.length > 1) return refuse('exactly one OpenPGP key is taken at a time');
    if (only.isPrivate()) {
      return refuse(
        'this is a private key, and from now on a known one: replace it, and send public keys only',
      );
    }
    key = only;
  } catch (error) {
    return refuse(`the OpenPGP key cannot be read: ${describeError(error)}`);
  }
  keepOwnParts(key);
  const reason = refuseKey(key);
  return reason === undefined ? { kind: 'certificate', key } : refuse(reason);
}

/** Why this key or subkey of a certificate could not sign at that time. */
export async function judgeSigner(
  openpgp: Openpgp,
  { key, candidate, at }: { key: Key; candidate: Key | Subkey; at: Date },
): Promise<string | undefined> {
  // A revocation counts whenever it was made: GnuPG does not ask either.
  if (isSubkey(candidate) && candidate.revocationSignatures.length > 0) return 'the subkey is revoked';
  const reason = refuseAlgorithm(candidate.keyPacket);
  if (reason !== undefined) return reason;
  try {
    const signer = await key.getSigningKey(candidate.getKeyID(), at, undefined, strictConfig(openpgp));
    const isCandidate = signer.getFingerprint() === candidate.getFingerprint();
    return isCandidate ? undefined : 'two parts of the key have the same key id';
  } catch (error) {
    return `the key could not sign at that time: ${describeError(error)}`;
  }
}

function isSubkey(key: Key | Subkey): key is Subkey {
  return 'bindingSignatures' in key;
}

function keepOwnParts(key: Key): void {
  key.users = key.users.filter(({ userID }) => userID !== null);
  for (const user of key.users) user.otherCertifications = [];
}

function refuseKey(key: Key): string | undefined {
  // Also one that cannot be checked: its owner says by it that the key is not to be used.
  if (key.revocationSignatures.length > 0) return 'the key is revoked';
  const signatures = [
    ...key.users.flatMap((user) => [...user.selfCertifications, ...user.revocationSignatures]),
    ...key.subkeys.flatMap((subkey) => [...subkey.bindingSignatures, ...subkey.revocationSignatures]),
  ];
  if (
    key.users.length > USERS_MAX ||
    key.subkeys.length > SUBKEYS_MAX ||
    signatures.length > SIGNATURES_MAX
  ) {
    return `the key has too many parts: ${USERS_MAX} user ids, ${SUBKEYS_MAX} subkeys and ${SIGNATURES_MAX} signatures are looked at (gpg --export-options export-minimal)`;
  }
  return refuseAlgorithm(key.keyPacket);
}
