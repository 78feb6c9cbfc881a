import { tempo } from 'mppx/client';
import { z } from 'zod';
import { byAmount, type Payable, type Payer, toMillicentsRoundedUp } from '../payer.ts';
import type { DollarToken } from './evm.ts';
import { credentialHeaderOf, listMppChallenges, unitsSchema } from './mpp-challenges.ts';

type ChargeParameters = NonNullable<Parameters<typeof tempo.charge>[0]>;

export type TempoPayerOptions = {
  /** A local account of viem. */
  account: NonNullable<ChargeParameters['account']>;
  /** Makes the viem client of a chain; without it mppx's default RPC is used. */
  getClient?: ChargeParameters['getClient'];
  /** Nothing else is ever signed for; `network` is `eip155:<chain id>`. */
  tokens: readonly DollarToken[];
};

const requestSchema = z.object({
  amount: unitsSchema,
  currency: z.string(),
  methodDetails: z.object({
    chainId: z.number().int().positive(),
    supportedModes: z.array(z.string()).optional(),
    // Paid in parts, or through another token, it would cost something else than it says here.
    splits: z.undefined().optional(),
    machineTokenEnabled: z.literal(false).optional(),
  }),
});

/** Pays by MPP's method `tempo` in pull mode: it signs the transfer, the server broadcasts it. */
export function tempoPayer({ account, getClient, tokens }: TempoPayerOptions): Payer {
  const allowedChainIds = tokens.map(({ network }) => Number(network.split(':')[1]));
  const method = tempo.charge({
    ...{ account, allowedChainIds, mode: 'pull' },
    ...(getClient ? { getClient } : {}),
  });
  return {
    rail: 'tempo',
    async list(challenged) {
      return listMppChallenges(challenged, 'tempo')
        .flatMap((challenge): Payable[] => {
          const request = requestSchema.safeParse(challenge.request);
          if (!request.success) return [];
          const { amount, currency, methodDetails } = request.data;
          const network = `eip155:${methodDetails.chainId}`;
          const token = tokens.find(
            (candidate) =>
              candidate.network === network && candidate.address.toLowerCase() === currency.toLowerCase(),
          );
          const canPull = methodDetails.supportedModes?.includes('pull') ?? true;
          if (!token || !canPull) return [];
          return [
            {
              ...{ rail: 'tempo', units: amount, unit: `${network}/tip20:${currency.toLowerCase()}` },
              ...{ mcents: toMillicentsRoundedUp(amount, token.decimals) },
              ...{ reference: undefined, movesMoney: false },
              async pay() {
                // The request was just parsed; mppx types it by its own schema, which it checks again.
                const typed = challenge as Parameters<typeof method.createCredential>[0]['challenge'];
                const value = await method.createCredential({ challenge: typed, context: {} });
                return { name: credentialHeaderOf(challenge), value };
              },
            },
          ];
        })
        .sort(byAmount);
    },
  };
}
