import { z } from 'zod';
import { SCOPES } from '../keys/index.ts';
import { type Claim, failureSchema } from '../payments/index.ts';

const uuid = z.string();
/** What its challenge said is sold; claims from before this was kept do not say. */
const resourceUrl = z.string().optional();
/** Which request opened it; claims from before this was kept do not say. */
const opening = z.string().optional();
const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);

/** What finishing a claim needs besides the money, as the database keeps it: enough after any crash. */
const contextSchema = z.discriminatedUnion('purpose', [
  z.object({
    purpose: z.literal('call'),
    toolId: uuid,
    versionId: uuid,
    toolName: z.string(),
    payeeId: uuid,
    requestHash: sha256Hex,
    /** Present once the call was delivered. */
    responseHash: sha256Hex.optional(),
    /** The payer was told to expect the answer under a refund key when it fails. */
    keyId: uuid.optional(),
    resourceUrl,
    opening,
  }),
  z.object({
    purpose: z.literal('signup'),
    scopes: z.array(z.enum(SCOPES)),
    publisherId: uuid.optional(),
    label: z.string().optional(),
    /** What the key is given beyond what was paid for it. */
    bonusMcents: z
      .string()
      .regex(/^[0-9]+$/)
      .default('0'),
    resourceUrl,
    opening,
  }),
  z.object({ purpose: z.literal('topup'), resourceUrl, opening }),
  /** Money that buys nothing: it becomes credit, and the failure says why. */
  z.object({ purpose: z.literal('credit'), failure: failureSchema, resourceUrl, opening }),
]);

export type ClaimContext = z.infer<typeof contextSchema>;
export type CallContext = Extract<ClaimContext, { purpose: 'call' }>;

export function readContext(claim: Pick<Claim, 'context'>): ClaimContext {
  return contextSchema.parse(claim.context);
}
