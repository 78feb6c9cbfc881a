import { createHash } from 'node:crypto';
import { fingerprintOf, readSshKey } from './ssh-key.ts';
import { openWire, spellString } from './ssh-wire.ts';
import { readArmor, readBase64 } from './text.ts';
import {
  invalid,
  NOT_OF_THESE_BYTES,
  otherKey,
  type SignatureInput,
  type SignatureVerdict,
} from './verdict.ts';

const MAGIC = 'SSHSIG';
const VERSION = 1;
const HASHES = new Set(['sha256', 'sha512']);

/** A signature by `ssh-keygen -Y sign` (OpenSSH's PROTOCOL.sshsig). */
export function verifySshsig({ key, signature, data, namespace }: SignatureInput): SignatureVerdict {
  const body = readArmor(signature, 'SSH SIGNATURE');
  const bytes = body === undefined ? undefined : readBase64(body.replace(/\s/g, ''));
  if (!bytes) return invalid('this is not an armored SSH signature, as in the .sig file');
  const wire = openWire(bytes);
  const magic = wire.takeBytes(MAGIC.length).toString('latin1');
  const version = wire.takeUint32();
  const publicKey = wire.takeString();
  const signedNamespace = wire.takeString();
  const reserved = wire.takeString();
  const hash = wire.takeText();
  const blob = openWire(wire.takeString());
  if (magic !== MAGIC || !wire.isRead()) {
    return invalid('the SSH signature is cut off, or something follows it');
  }
  if (version !== VERSION || reserved.length > 0 || !HASHES.has(hash)) {
    return invalid('the SSH signature is of another version, or made with another hash');
  }
  if (!signedNamespace.equals(Buffer.from(namespace, 'utf8'))) {
    return invalid(`the signature was not made for this: sign with ssh-keygen -Y sign -n ${namespace}`);
  }
  const registered = readSshKey(key);
  if (registered.kind === 'refused') return invalid(registered.reason);
  if (!publicKey.equals(key)) {
    return otherKey(`the signature is by key ${fingerprintOf(publicKey)}, not by ${registered.keyId}`);
  }
  const message = Buffer.concat([
    Buffer.from(MAGIC),
    ...[signedNamespace, reserved, hash, createHash(hash).update(data).digest()].map(spellString),
  ]);
  const algorithm = blob.takeText();
  const inner = blob.takeString();
  const isValid = registered.verify({ algorithm, signature: inner, rest: blob.takeRest(), message });
  if (!isValid || !blob.isRead()) return invalid(NOT_OF_THESE_BYTES);
  return { kind: 'valid', keyId: registered.keyId, signerId: registered.keyId, signedAt: undefined };
}
