export const SIGNATURE_FORMATS = ['ssh', 'openpgp', 'minisign'] as const;
export type SignatureFormat = (typeof SIGNATURE_FORMATS)[number];

export type PublicKey = {
  kind: 'key';
  format: SignatureFormat;
  /** SSH: `SHA256:<base64>`; OpenPGP: the fingerprint, 40 upper-case hex digits; minisign: its key id, 16 of them. */
  keyId: string;
  /** One spelling of the key, whichever text it came in; what the log holds and `verifySignature` takes. */
  bytes: Buffer;
  /** What the key itself says; SSH and minisign keys say nothing. */
  expiresAt: Date | undefined;
};

export type Refusal = { kind: 'refused'; reason: string };

export type SignatureInput = {
  format: SignatureFormat;
  /** `PublicKey.bytes`. */
  key: Uint8Array;
  /** Armored, or for OpenPGP the base64 of the binary form. */
  signature: string;
  data: Uint8Array;
  /** What an SSH signature was made for; the other formats have nothing of the kind. */
  namespace: string;
  /** When the signature is judged: in a log, the time of its entry. */
  at: Date;
};

export type SignatureVerdict =
  | {
      kind: 'valid';
      keyId: string;
      /** The fingerprint of the OpenPGP subkey that signed; otherwise the same as `keyId`. */
      signerId: string;
      /** When the signer says that he signed (OpenPGP). */
      signedAt: Date | undefined;
    }
  | { kind: 'invalid'; reason: string }
  /** It names another key than the one it was held against. */
  | { kind: 'other-key'; reason: string };

export function refuse(reason: string): Refusal {
  return { kind: 'refused', reason };
}

export function invalid(reason: string): SignatureVerdict {
  return { kind: 'invalid', reason };
}

export function otherKey(reason: string): SignatureVerdict {
  return { kind: 'other-key', reason };
}

export const NOT_OF_THESE_BYTES = 'the signature was not made by this key over these bytes';
