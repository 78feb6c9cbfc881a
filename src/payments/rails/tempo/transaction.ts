import { KeyAuthorization, SignatureEnvelope, TxEnvelopeTempo } from 'ox/tempo';
import { type Hex, keccak256 } from 'viem';

/** A Tempo transaction (type 0x76) whose signature is good. */
export type SignedTransaction = {
  /** As the chain names it. */
  hash: Hex;
  /** In the one spelling that the chain keeps: signatures have several. */
  serialized: Hex;
  sender: Hex;
  /** Signed by a key that the sender's account has lent, which the account can take back. */
  accessKey: AccessKey | undefined;
  terms: TxEnvelopeTempo.TxEnvelopeTempo;
};

/** `grantedUntil`: the transaction itself brings the owner's signature that lends the key, until then (Unix time). */
export type AccessKey = { address: Hex; grantedUntil: number | undefined };

/**
 * Reads a signed transaction and checks who signed it; undefined when it is none, or by nobody we can name.
 * Pure: whether a lent key is still good, the chain knows.
 */
export function readTransaction(value: Hex): SignedTransaction | undefined {
  if (!value.startsWith(TxEnvelopeTempo.serializedType)) return undefined;
  try {
    const terms = TxEnvelopeTempo.deserialize(`0x76${value.slice(4)}`);
    const signer = readSigner(terms);
    if (signer === undefined) return undefined;
    const serialized = TxEnvelopeTempo.serialize(terms);
    return { hash: keccak256(serialized), serialized, terms, ...signer };
  } catch {
    // Whatever the bytes are: they are not a transaction that somebody signed.
    return undefined;
  }
}

type Signer = Pick<SignedTransaction, 'sender' | 'accessKey'>;

function readSigner(terms: TxEnvelopeTempo.TxEnvelopeTempo): Signer | undefined {
  const { signature, keyAuthorization, ...unsigned } = terms;
  if (signature === undefined) return undefined;
  const signed = { ...unsigned, ...(keyAuthorization ? { keyAuthorization } : {}) };
  if (signature.type === 'keychain') {
    const sender = toLowerHex(signature.userAddress);
    // The first version does not bind the signature to the account, and the chain takes it no more.
    if (signature.version === 'v1') return undefined;
    const payload = TxEnvelopeTempo.getSignPayload(signed, { from: sender });
    const address = recoverSigner(signature.inner, payload);
    if (address === undefined) return undefined;
    if (keyAuthorization === undefined) return { sender, accessKey: { address, grantedUntil: undefined } };
    const expected = { owner: sender, key: address, chainId: BigInt(terms.chainId) };
    if (!isGrantOf(keyAuthorization, expected)) return undefined;
    const grantedUntil = keyAuthorization.expiry ?? Number.POSITIVE_INFINITY;
    return { sender, accessKey: { address, grantedUntil } };
  }
  const sender = recoverSigner(signature, TxEnvelopeTempo.getSignPayload(signed));
  return sender && { sender, accessKey: undefined };
}

/** The address whose key made the signature over the payload; undefined when none did. */
export function recoverSigner(signature: SignatureEnvelope.SignatureEnvelope, payload: Hex): Hex | undefined {
  if (signature.type === 'keychain' || signature.type === 'multisig') return undefined;
  if (signature.signature.s > CANONICAL_S_MAX[signature.type]) return undefined;
  const address = SignatureEnvelope.extractAddress({ payload, signature });
  // A key is recovered from a secp256k1 signature; the others bring a key that need not have made them.
  const isGood = signature.type === 'secp256k1' || SignatureEnvelope.verify(signature, { payload, address });
  return isGood ? toLowerHex(address) : undefined;
}

function isGrantOf(
  grant: KeyAuthorization.Signed,
  expected: { owner: Hex; key: Hex; chainId: bigint },
): boolean {
  if (toLowerHex(grant.address) !== expected.key) return false;
  // Zero is every chain; what an owner lends on a test network it does not lend here.
  if (grant.chainId !== 0n && grant.chainId !== expected.chainId) return false;
  return recoverSigner(grant.signature, KeyAuthorization.getSignPayload(grant)) === expected.owner;
}

/** Half the order of each curve: above it a signature is the mirror image of another one. */
const P256_S_MAX = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n;
const CANONICAL_S_MAX = {
  secp256k1: 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n,
  p256: P256_S_MAX,
  webAuthn: P256_S_MAX,
};

/** Addresses are compared as text, so one case only. */
export function toLowerHex(value: string): Hex {
  return value.toLowerCase() as Hex;
}
