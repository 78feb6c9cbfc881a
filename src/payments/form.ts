import { z } from 'zod';

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

/**
 * How a payer authorises money to move, whatever wire spelled it. A wire produces forms and a rail consumes
 * them: this union is all the two know of each other. A further rail adds its form here.
 */
export const formSchema = z.discriminatedUnion('kind', [eip3009FormSchema]);
export type Form = z.infer<typeof formSchema>;

/** A form as JSON for the database; `formSchema.parse` reads it back. */
export function toFormJson(form: Form): Record<string, string> {
  return Object.fromEntries(Object.entries(form).map(([key, value]) => [key, String(value)]));
}
