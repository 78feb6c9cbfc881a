import { decodePaymentRequiredHeader } from '@x402/core/http';
import { Challenge } from 'mppx';
import { z } from 'zod';
import type { Answer } from '../http.ts';
import { must } from '../must.ts';

/** One way to pay, as a 402 spells it. */
export type Offered = {
  /** The header, or the body. */
  where: string;
  wire: string;
  rail: string;
  /** In words, for the reader. */
  asks: string;
  /** The price, where the rail counts in dollars. */
  mcents: number | undefined;
  invoice: string | undefined;
};

const MCENTS_PER_CENT = 1_000;
const UNITS_PER_MILLICENT = 10;

const v1Schema = z.looseObject({
  x402Version: z.literal(1),
  accepts: z.array(z.looseObject({ network: z.string(), maxAmountRequired: z.string() })),
});
const mppSchema = z.looseObject({
  amount: z.string(),
  currency: z.string(),
  methodDetails: z.looseObject({ chainId: z.int().optional(), invoice: z.string().optional() }),
});

/** Reads a 402 as the stock clients do: x402 from header and body, MPP with mppx, L402 by its scheme. */
export function listChallenges({ headers, text }: Answer): Offered[] {
  const v2 = decodePaymentRequiredHeader(headers.get('payment-required') ?? '');
  const v1 = v1Schema.parse(JSON.parse(text));
  const authenticate = headers.get('www-authenticate') ?? '';
  must(authenticate.startsWith('Payment '), 'WWW-Authenticate begins with Payment, where MPP clients look');
  return [
    ...v2.accepts.map(({ network, amount }) =>
      offer('PAYMENT-REQUIRED', 'x402 v2', 'evm', { amount, on: network }),
    ),
    ...v1.accepts.map(({ network, maxAmountRequired: amount }) =>
      offer('body', 'x402 v1', 'evm', { amount, on: network }),
    ),
    ...Challenge.fromHeadersList(headers).map(readMpp),
    readL402(authenticate),
  ];
}

function readMpp({ method, request }: Challenge.Challenge): Offered {
  const { amount, currency, methodDetails } = mppSchema.parse(request);
  const where = 'WWW-Authenticate';
  switch (method) {
    case 'stripe':
      return {
        ...{
          where,
          wire: 'MPP',
          rail: method,
          asks: `${amount} ${currency} cents by card`,
          invoice: undefined,
        },
        mcents: Number(amount) * MCENTS_PER_CENT,
      };
    case 'lightning':
      return {
        ...{ where, wire: 'MPP', rail: method, asks: `${amount} ${currency}, by invoice`, mcents: undefined },
        invoice: methodDetails.invoice,
      };
    default:
      return offer(where, 'MPP', method, { amount, on: `eip155:${methodDetails.chainId}` });
  }
}

/** Both spell a dollar token's amount in its smallest unit, a millionth of a dollar. */
function offer(
  where: string,
  wire: string,
  rail: string,
  { amount, on }: { amount: string; on: string },
): Offered {
  return {
    ...{ where, wire, rail, asks: `${amount} units of a dollar token on ${on}`, invoice: undefined },
    mcents: Number(amount) / UNITS_PER_MILLICENT,
  };
}

function readL402(authenticate: string): Offered {
  const [, invoice] = /, L402 macaroon="[^"]+", invoice="([^"]+)"/.exec(authenticate) ?? [];
  must(invoice, 'the 402 has an L402 challenge with an invoice');
  const asks = `invoice ${invoice.slice(0, 14)}...`;
  return { where: 'WWW-Authenticate', wire: 'L402', rail: 'lightning', asks, mcents: undefined, invoice };
}
