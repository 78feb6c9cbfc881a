import type { Key, Signature, Subkey } from 'openpgp';
import { judgeSigner, readCertificate } from './openpgp-certificate.ts';
import {
  describeError,
  loadOpenpgp,
  type Openpgp,
  readBinary,
  refuseHash,
  strictConfig,
} from './openpgp-rules.ts';
import {
  invalid,
  NOT_OF_THESE_BYTES,
  otherKey,
  type SignatureInput,
  type SignatureVerdict,
} from './verdict.ts';

/** How far ahead of ours the signer's clock may be. */
const CLOCK_SKEW_MS = 5 * 60_000;

/**
 * A detached OpenPGP signature over the bytes (type 0x00), judged at a time that is ours: what the signer says about
 * the time of his signature decides only against him.
 */
export async function verifyOpenpgp(input: SignatureInput): Promise<SignatureVerdict> {
  const binary = readBinary(input.signature, 'PGP SIGNATURE');
  if (!binary) return invalid('this is not an OpenPGP signature: gpg --armor --detach-sign writes one');
  const openpgp = await loadOpenpgp();
  const certificate = await readCertificate(openpgp, input.key);
  if (certificate.kind === 'refused') return invalid(certificate.reason);
  const signature = await readDetached(openpgp, binary);
  if (typeof signature === 'string') return invalid(signature);
  const { key } = certificate;
  const { packet } = signature;
  const candidate = findCandidate(key, packet);
  if (typeof candidate === 'string') return otherKey(candidate);
  const reason =
    refuseHash(packet.hashAlgorithm, candidate.keyPacket) ??
    refuseTimes(packet, { keyCreatedAt: candidate.getCreationTime(), at: input.at }) ??
    (await judgeSigner(openpgp, { key, candidate, at: input.at })) ??
    (await judgeBytes(openpgp, { key, signature, input }));
  if (reason !== undefined) return invalid(reason);
  return {
    kind: 'valid',
    keyId: key.getFingerprint().toUpperCase(),
    signerId: candidate.getFingerprint().toUpperCase(),
    signedAt: packet.created,
  };
}

type Detached = { whole: Signature; packet: DetachedPacket };
type DetachedPacket = Signature['packets'][number] & { created: Date };

/** The one signature packet there may be, or why it is not taken. */
async function readDetached(openpgp: Openpgp, binary: Uint8Array): Promise<Detached | string> {
  try {
    const whole = await openpgp.readSignature({ binarySignature: binary, config: strictConfig(openpgp) });
    const [packet] = whole.packets;
    if (!(packet instanceof openpgp.SignaturePacket) || whole.packets.length > 1 || packet.version !== 4) {
      return 'exactly one OpenPGP signature of version 4 is taken';
    }
    if (packet.signatureType !== openpgp.enums.signature.binary) {
      return 'the signature is not over the bytes: sign with --detach-sign, and without --textmode';
    }
    if (!isDated(packet)) return 'the signature does not say when it was made';
    return { whole, packet };
  } catch (error) {
    return `the OpenPGP signature cannot be read: ${describeError(error)}`;
  }
}

function isDated(packet: Signature['packets'][number]): packet is DetachedPacket {
  return packet.created !== null && Number.isFinite(packet.created.getTime());
}

/** The key or subkey that the signature names: by its fingerprint, where it has one, not only by the short id. */
function findCandidate(key: Key, packet: DetachedPacket): Key | Subkey | string {
  const [candidate, ...others] = key.getKeys(packet.issuerKeyID);
  const fingerprint = packet.issuerFingerprint && Buffer.from(packet.issuerFingerprint).toString('hex');
  const isNamed = fingerprint === null || candidate?.getFingerprint() === fingerprint;
  if (candidate && others.length === 0 && isNamed) return candidate;
  const signer = (fingerprint ?? packet.issuerKeyID.toHex()).toUpperCase();
  return `the signature is by key ${signer}, not by ${key.getFingerprint().toUpperCase()} or a subkey of it`;
}

function refuseTimes(
  packet: DetachedPacket,
  { keyCreatedAt, at }: { keyCreatedAt: Date; at: Date },
): string | undefined {
  const signedAt = packet.created.getTime();
  if (signedAt > at.getTime() + CLOCK_SKEW_MS) return 'the signature says that it was made in the future';
  if (signedAt < keyCreatedAt.getTime()) return 'the signature says that it is older than its key';
  return undefined;
}

/** The mathematics, and once more whether the key could sign at the time that the signature gives. */
async function judgeBytes(
  openpgp: Openpgp,
  input: { key: Key; signature: Detached; input: SignatureInput },
): Promise<string | undefined> {
  const { key, signature } = input;
  const { data, at } = input.input;
  const { created } = signature.packet;
  try {
    const message = await openpgp.createMessage({ binary: data });
    const { signatures } = await openpgp.verify({
      ...{ message, signature: signature.whole, verificationKeys: key, format: 'binary' },
      // A signer's clock that is ahead is no reason: how far it may be was judged.
      ...{ date: created > at ? created : at, config: strictConfig(openpgp) },
    });
    const [result] = signatures;
    if (signatures.length !== 1 || (await result?.verified) !== true) return NOT_OF_THESE_BYTES;
    return undefined;
  } catch (error) {
    const words = describeError(error);
    return /digest did not match|verification failed/i.test(words)
      ? NOT_OF_THESE_BYTES
      : `the OpenPGP signature was refused: ${words}`;
  }
}
