import { Credential } from 'mppx';
import { z } from 'zod';
import { byAmount, type Payable, type Payer } from '../payer.ts';
import { credentialHeaderOf, listMppChallenges, unitsSchema } from './mpp-challenges.ts';

/** What a shared payment token has to be granted for. */
export type SptRequest = {
  amountCents: bigint;
  currency: 'usd';
  /** The seller's Stripe profile. */
  networkId: string;
  paymentMethodTypes: readonly string[];
  /** Until when the token has to be usable. */
  expiresAt: Date;
  challengeId: string;
  signal: AbortSignal;
};

export type StripePayerOptions = {
  /** Grants a shared payment token, usually through a server of one's own that holds the Stripe key. */
  createSpt: (request: SptRequest) => Promise<string>;
};

const requestSchema = z.object({
  amount: unitsSchema,
  currency: z.literal('usd'),
  externalId: z.string().optional(),
  methodDetails: z.object({ networkId: z.string(), paymentMethodTypes: z.array(z.string()).default([]) }),
});

const MILLICENTS_PER_CENT = 1_000n;
const EXPIRES_AFTER_MS = 3_600_000;

/** Pays by MPP's method `stripe`: it grants a token for the exact amount, the server charges it. */
export function stripePayer({ createSpt }: StripePayerOptions): Payer {
  return {
    rail: 'stripe',
    async list(challenged) {
      return listMppChallenges(challenged, 'stripe')
        .flatMap((challenge): Payable[] => {
          const request = requestSchema.safeParse(challenge.request);
          if (!request.success) return [];
          const { amount, currency, methodDetails, externalId } = request.data;
          const expiresAt = challenge.expires
            ? new Date(challenge.expires)
            : new Date(challenged.now.getTime() + EXPIRES_AFTER_MS);
          return [
            {
              ...{ rail: 'stripe', units: amount, unit: 'usd-cents', mcents: amount * MILLICENTS_PER_CENT },
              ...{ reference: undefined, movesMoney: false },
              async pay(signal) {
                const spt = await createSpt({
                  ...{ amountCents: amount, currency, ...methodDetails, expiresAt },
                  ...{ challengeId: challenge.id, signal },
                });
                const payload = { spt, ...(externalId === undefined ? {} : { externalId }) };
                const value = Credential.serialize(Credential.from({ challenge, payload }));
                return { name: credentialHeaderOf(challenge), value };
              },
            },
          ];
        })
        .sort(byAmount);
    },
  };
}
