import { z } from 'zod';
import type { Json } from '../core/canonical-json.ts';
import type { Uuid } from '../core/ids.ts';

const jsonObject = z.custom<{ [key: string]: Json }>((value) => typeof value === 'object' && value !== null);

/** What a challenge is for, as it is kept for a payment that comes before its request is sent again. */
export const orderSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('call'),
    request: z.object({
      server: z.string(),
      tool: z.string(),
      arguments: jsonObject,
      version: z.string().optional(),
      network: z.literal(true).optional(),
      further: jsonObject.optional(),
    }),
    /** The version it was priced for, whether its caller pinned one or not. */
    version: z.string(),
  }),
  z.object({ kind: z.literal('signup'), role: z.enum(['agent', 'publisher']), label: z.string().optional() }),
  z.object({ kind: z.literal('topup'), accountId: z.custom<Uuid>((value) => typeof value === 'string') }),
]);
export type Order = z.infer<typeof orderSchema>;
