import { Secp256k1 } from 'ox';
import { SignatureEnvelope, TxEnvelopeTempo } from 'ox/tempo';
import { encodeFunctionData, type Hex, keccak256, maxUint256, parseAbi, slice, stringToHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { expectForm, formSchema, type TempoForm } from '../../../../src/payments/form.ts';
import type { TempoOffer } from '../../../../src/payments/rail.ts';

export const tokenAbi = parseAbi([
  'function balanceOf(address account) view returns (uint256)',
  'function transfer(address to, uint256 amount)',
  'function transferWithMemo(address to, uint256 amount, bytes32 memo)',
]);

export type Call = { to: Hex; data: Hex; value?: bigint };

/** What a payer of its own mind writes into its transaction; the rest is honest. */
export type SignedTerms = {
  key: Hex;
  challengeId: string;
  realm?: string;
  memo?: Hex;
  to?: Hex;
  token?: Hex;
  amount?: bigint;
  calls?: Call[];
  chainId?: number;
  nonceKey?: bigint;
  nonce?: bigint;
  gas?: bigint;
  maxFeePerGas?: bigint;
  validAfter?: number;
  /** `null`: it never expires. */
  validBefore?: number | null;
  feeToken?: Hex;
};

export const REALM = 'gateway.example';
export const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

/** The memo as MPP's charge draft for Tempo lays it out, without a client's fingerprint. */
export function memoOf(challengeId: string, realm: string = REALM): Hex {
  const digest = (text: string, bytes: number) => slice(keccak256(stringToHex(text)), 0, bytes).slice(2);
  return `0x${digest('mpp', 4)}01${digest(realm, 10)}${'00'.repeat(10)}${digest(challengeId, 7)}`;
}

export function encodeTransfer(offer: TempoOffer, terms: SignedTerms): Call {
  const memo = terms.memo ?? memoOf(terms.challengeId, terms.realm);
  const args = [terms.to ?? offer.recipient, terms.amount ?? offer.units, memo] as const;
  const data = encodeFunctionData({ abi: tokenAbi, functionName: 'transferWithMemo', args });
  return { to: terms.token ?? offer.currency, data };
}

/** A transaction as a payer's wallet signs it, with an expiring nonce unless it says otherwise. */
export function signTransaction(offer: TempoOffer, terms: SignedTerms): Hex {
  const { validBefore = inSeconds(25), validAfter, feeToken } = terms;
  const envelope = TxEnvelopeTempo.from({
    chainId: terms.chainId ?? Number(offer.network.split(':')[1]),
    calls: terms.calls ?? [encodeTransfer(offer, terms)],
    nonceKey: terms.nonceKey ?? maxUint256,
    nonce: terms.nonce ?? 0n,
    gas: terms.gas ?? 2_000_000n,
    maxFeePerGas: terms.maxFeePerGas ?? 40_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
    ...(validBefore === null ? {} : { validBefore }),
    ...{ validAfter, feeToken },
  });
  const payload = TxEnvelopeTempo.getSignPayload(envelope);
  const signature = SignatureEnvelope.from(Secp256k1.sign({ payload, privateKey: terms.key }));
  return TxEnvelopeTempo.serialize(envelope, { signature });
}

/** What a payer shows who hands over its transaction. */
export function signForm(offer: TempoOffer, terms: SignedTerms): TempoForm {
  const { challengeId, realm = REALM, key } = terms;
  return toForm(offer, {
    ...{ shows: 'transaction', value: signTransaction(offer, terms), challengeId, realm },
    payer: privateKeyToAccount(key).address,
  });
}

/** What a payer shows who has sent the transaction of this form. */
export function toSentForm(form: TempoForm): TempoForm {
  return { ...form, shows: 'hash', value: keccak256(form.value) };
}

export function toForm(offer: TempoOffer, shown: Record<string, unknown>): TempoForm {
  return expectForm(formSchema.parse({ kind: 'tempo', network: offer.network, ...shown }), 'tempo');
}
