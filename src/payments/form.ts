import { z } from 'zod';
import { sha256Hex } from '../core/bytes.ts';
import { invariant } from '../core/invariant.ts';

const hex = (bytes: number) => z.stringFormat(`hex${bytes}`, new RegExp(`^0x[0-9a-fA-F]{${bytes * 2}}$`));
const units = z.union([
  z.bigint(),
  z.stringFormat('uint', /^[0-9]{1,78}$/).transform((digits) => BigInt(digits)),
]);
/** `0x` and hex digits, the way viem types them. */
type Hex = `0x${string}`;
const asHex = (value: string): Hex => value.toLowerCase() as Hex;

/**
 * An EIP-3009 `TransferWithAuthorization` with its signature. Addresses and nonce are lower case; `value` is
 * in atomic token units; the validity bounds are Unix seconds.
 */
const eip3009FormSchema = z.object({
  kind: z.literal('eip3009'),
  /** CAIP-2, for example `eip155:84532`. */
  network: z.stringFormat('caip2', /^eip155:[1-9][0-9]{0,17}$/),
  asset: hex(20).transform(asHex),
  from: hex(20).transform(asHex),
  to: hex(20).transform(asHex),
  value: units,
  validAfter: units,
  validBefore: units,
  nonce: hex(32).transform(asHex),
  /** 65 bytes from a key, or more from a contract wallet (ERC-1271, ERC-6492). */
  signature: z.stringFormat('signature', /^0x(?:[0-9a-fA-F]{2}){1,4096}$/).transform(asHex),
});
export type Eip3009Form = z.infer<typeof eip3009FormSchema>;

/** A transfer on Tempo: the signed transaction itself (pull), or the hash of one the payer has sent (push). */
const tempoFormSchema = z.object({
  kind: z.literal('tempo'),
  network: z.stringFormat('caip2', /^eip155:[1-9][0-9]{0,17}$/),
  /** Which of the two the payer shows. */
  shows: z.enum(['transaction', 'hash']),
  /** The serialized transaction, or its 32-byte hash. */
  value: z.stringFormat('hex', /^0x(?:[0-9a-fA-F]{2}){32,32768}$/).transform(asHex),
  /** The id of the MPP challenge it answers: the transfer's memo is bound to it. */
  challengeId: z.string().max(256),
  /** The realm of that challenge, which the memo names too. */
  realm: z.string().max(256).optional(),
  /** Who pays, as the credential says: a hash alone does not tell. The rail checks it. */
  payer: hex(20).transform(asHex).optional(),
});
export type TempoForm = z.infer<typeof tempoFormSchema>;

/** Proof that a Lightning invoice was paid; without the preimage it only asks what became of the payment. */
const preimageFormSchema = z.object({
  kind: z.literal('preimage'),
  /** 32 bytes, lower-case hex. */
  paymentHash: z.stringFormat('hash', /^[0-9a-f]{64}$/),
  /** 32 bytes, lower-case hex, or empty. */
  preimage: z.stringFormat('preimage', /^(?:[0-9a-f]{64})?$/),
});
export type PreimageForm = z.infer<typeof preimageFormSchema>;

/** A Stripe shared payment token, good for one charge. */
const sptFormSchema = z.object({
  kind: z.literal('spt'),
  token: z.stringFormat('spt', /^spt_[A-Za-z0-9_]{1,250}$/),
  /** The payer's own reference, passed on to Stripe as metadata. */
  externalId: z.string().max(255).default(''),
});
export type SptForm = z.infer<typeof sptFormSchema>;

/** A Stripe Checkout session that we opened and a person pays in a browser. */
const checkoutFormSchema = z.object({
  kind: z.literal('checkout'),
  session: z.stringFormat('checkout', /^cs_[A-Za-z0-9_]{1,250}$/),
});
export type CheckoutForm = z.infer<typeof checkoutFormSchema>;

/**
 * How a payer authorises money to move, whatever wire spelled it. A wire produces forms and a rail consumes
 * them: this union is all the two know of each other. A further rail adds its form here.
 */
export const formSchema = z.discriminatedUnion('kind', [
  eip3009FormSchema,
  tempoFormSchema,
  preimageFormSchema,
  sptFormSchema,
  checkoutFormSchema,
]);
export type Form = z.infer<typeof formSchema>;

/** The form, which its rail knows to be of this kind: forms reach the rail that lists their kind and no other. */
export function expectForm<K extends Form['kind']>(form: Form, kind: K): Extract<Form, { kind: K }> {
  invariant(form.kind === kind, `a form of kind ${form.kind} reached the rail of ${kind}`);
  // The line above has just compared the discriminant.
  return form as Extract<Form, { kind: K }>;
}

/**
 * Whether showing the form proves that its payment was made by who shows it. An invoice's hash is in every
 * challenge for it; only its preimage comes with the payment.
 */
export function isPaymentProof(form: Form): boolean {
  if (form.kind !== 'preimage') return true;
  if (form.preimage === '') return false;
  return sha256Hex(Buffer.from(form.preimage, 'hex')) === form.paymentHash;
}

/** A form as JSON for the database; `formSchema.parse` reads it back. */
export function toFormJson(form: Form): Record<string, string> {
  const given = Object.entries(form).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([key, value]) => [key, String(value)]));
}
