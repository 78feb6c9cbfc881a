import { type Hex, hexToBigInt, isAddressEqual, pad, slice, toEventSelector } from 'viem';
import { z } from 'zod';
import type { Rails } from '../../scripts/dev/rails.ts';
import type { RailName } from '../../src/payments/index.ts';
import { createEmbeddedProvider } from '../../src/payments/rails/lightning/embedded/index.ts';
import { tokenBalance } from './fixtures.ts';

/** What has been paid on a rail so far, as the rail itself tells, in its native units. */
export async function readTakings(rails: Rails, rail: RailName): Promise<bigint> {
  const { anvil, tempo, lightning, stripe } = rails;
  switch (rail) {
    case 'evm':
      return tokenBalance(anvil, anvil.payTo);
    case 'tempo':
      return tokenBalance({ token: tempo.currency, rpcUrl: tempo.rpcUrl }, tempo.recipient);
    case 'lightning':
      return -(await lightning.agentBalance());
    case 'stripe':
      return BigInt(stripe.sums().gross);
    default:
      return rail satisfies never;
  }
}

/** What the one payment of this reference has moved to us, as the rail itself tells. */
export async function readPaid(rails: Rails, rail: RailName, reference: string): Promise<bigint> {
  const { anvil, tempo, lightning, stripe } = rails;
  switch (rail) {
    case 'evm':
      return sumTransfers(anvil, { token: anvil.token, to: anvil.payTo, hash: reference });
    case 'tempo':
      return sumTransfers(tempo, { token: tempo.currency, to: tempo.recipient, hash: reference });
    case 'lightning': {
      const signal = AbortSignal.timeout(LOOK_TIMEOUT_MS);
      const standing = await createEmbeddedProvider(lightning.provider).lookup(reference, signal);
      return standing.state === 'settled' ? standing.receivedMsat : 0n;
    }
    case 'stripe': {
      const payment = stripe.payments().find(({ id }) => id === reference);
      return payment?.status === 'succeeded' ? BigInt(payment.amount_received) : 0n;
    }
    default:
      return rail satisfies never;
  }
}

/** What a price is on a rail: a millicent is ten units of a dollar token, and a tenth of a satoshi's cent. */
export function toUnits(rail: RailName, priceMillicents: number): bigint {
  const price = BigInt(priceMillicents);
  switch (rail) {
    case 'evm':
    case 'tempo':
      return price * 10n;
    case 'lightning':
      return divideUp(price * (10_000n + SPREAD_BPS), 10_000n * MILLICENTS_PER_SAT) * 1_000n;
    case 'stripe':
      return divideUp(price, 1_000n);
    default:
      return rail satisfies never;
  }
}

const LOOK_TIMEOUT_MS = 10_000;
/** A bitcoin is 100,000 dollars on the rails of development. */
const MILLICENTS_PER_SAT = 100n;
const SPREAD_BPS = 100n;
const TRANSFER = toEventSelector('Transfer(address,address,uint256)');

const receiptSchema = z.object({
  status: z.literal('0x1'),
  logs: z.array(z.object({ address: hex(), topics: z.array(hex()), data: hex() })),
});

function hex() {
  return z.custom<Hex>((value) => typeof value === 'string' && /^0x[0-9a-f]*$/i.test(value));
}

async function sumTransfers(
  chain: { rpc(method: string, params?: unknown[]): Promise<unknown> },
  wanted: { token: Hex; to: Hex; hash: string },
): Promise<bigint> {
  const receipt = receiptSchema.parse(await chain.rpc('eth_getTransactionReceipt', [wanted.hash]));
  return receipt.logs
    .filter(({ address, topics }) => {
      const [event, , to] = topics;
      if (event !== TRANSFER || to === undefined || !isAddressEqual(address, wanted.token)) return false;
      return to.toLowerCase() === pad(wanted.to).toLowerCase();
    })
    .reduce((sum, { data }) => sum + hexToBigInt(slice(data, 0, 32)), 0n);
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}
