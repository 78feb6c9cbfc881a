import { detectFormat, verifySignature } from '../signatures/signature.ts';
import type { SignatureFormat } from '../signatures/verdict.ts';
import { type ReleaseKey, refuseKeyAt } from './release-key.ts';

export type ReleaseToJudge = {
  /** The text of a detached signature. */
  signature: string;
  /** The canonical archive, whose SHA-256 is the version's code hash. */
  archive: Uint8Array;
  /** `signatureNamespaces(...).release`. */
  namespace: string;
  /** The time of the log entry. */
  at: Date;
};

export type ReleaseVerdict =
  | {
      kind: 'verified';
      format: SignatureFormat;
      keyId: string;
      /** The OpenPGP subkey that signed; otherwise the same as `keyId`. */
      signerId: string;
      signedAt: Date | undefined;
    }
  | { kind: 'refused'; reason: string };

/** Whether a release was signed by one of its publisher's keys, registered and neither expired nor revoked at `at`. */
export async function judgeRelease(
  keys: readonly ReleaseKey[],
  { signature, archive, namespace, at }: ReleaseToJudge,
): Promise<ReleaseVerdict> {
  const format = detectFormat(signature);
  if (!format) return refuse('it is no signature of SSH, OpenPGP or minisign');
  let signer: string | undefined;
  for (const key of keys.filter((one) => one.format === format)) {
    const verdict = await verifySignature({
      ...{ format, signature, namespace, at, key: key.publicKey, data: archive },
    });
    switch (verdict.kind) {
      case 'other-key':
        signer = verdict.reason;
        break;
      case 'invalid':
        return refuse(refuseKeyAt(key, at) ?? verdict.reason);
      case 'valid': {
        const reason = refuseKeyAt(key, at);
        const { keyId, signerId, signedAt } = verdict;
        return reason === undefined
          ? { kind: 'verified', format, keyId, signerId, signedAt }
          : refuse(reason);
      }
      default:
        return verdict satisfies never;
    }
  }
  if (signer === undefined) return refuse('its publisher has no key of this kind: POST /v1/release-keys');
  return refuse(`it is by none of its publisher's keys (${signer})`);
}

function refuse(reason: string): ReleaseVerdict {
  return { kind: 'refused', reason };
}
