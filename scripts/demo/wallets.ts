import { fetchWithL402 } from '@getalby/lightning-tools/402/l402';
import { Mppx, stripe, tempo } from 'mppx/client';
import { createClient, createPublicClient, erc20Abi, http, type PrivateKeyAccount } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { tempoModerato } from 'viem/tempo/chains';
import { z } from 'zod';
import type { DevInfo } from './gateway.ts';
import type { Fetch } from './http.ts';
import { must } from './must.ts';

/** The agent's wallets beside the one on the test chain, each with the stock client that pays from it. */
export type Wallets = { lightning: LightningWallet; tempo: TempoWallet; card: CardWallet };

/** What the development gateway reckons with: a bitcoin is $100,000, and one percent is asked for on top. */
export const MILLICENTS_PER_BITCOIN = 10_000_000_000n;
export const SPREAD_PERCENT = 1n;

export type LightningWallet = {
  /** `@getalby/lightning-tools`: pays an L402 challenge. */
  fetch: Fetch;
  /** Resolves with the preimage once the payee has taken the money; throws when the payment came back. */
  payInvoice(invoice: string): Promise<string>;
  balanceMsat(): Promise<bigint>;
};

export type TempoWallet = {
  account: PrivateKeyAccount;
  /** mppx, which signs and lets the server send (`pull`), or sends by itself and shows the hash (`push`). */
  fetchBy(mode: 'pull' | 'push'): Fetch;
  getClient(): ReturnType<typeof createClient>;
  /** Dollars in millicents: what the agent has left, and what has reached the gateway. */
  balance(): Promise<bigint>;
  received(): Promise<bigint>;
};

export type CardWallet = {
  /** mppx, which has a token granted for each payment. */
  fetch: Fetch;
  payments(): Promise<CardPayment[]>;
};
/** A PaymentIntent, newest first where there are several; amounts in cents. */
export type CardPayment = z.infer<typeof paymentSchema>;

const UNITS_PER_MILLICENT = 10n;
const TIMEOUT_MS = 30_000;
const POLL_MS = 50;

const paidSchema = z.object({ preimage: z.string() });
const balanceSchema = z.object({ msat: z.string().transform(BigInt) });
const tokenSchema = z.object({ id: z.string() });
const paymentSchema = z.object({
  id: z.string(),
  status: z.string(),
  amount: z.int(),
  amount_received: z.int(),
});
const paymentsSchema = z.object({ data: z.array(paymentSchema), has_more: z.literal(false) });

export function createWallets(info: DevInfo): Wallets {
  return {
    lightning: createLightningWallet(info),
    tempo: createTempoWallet(info),
    card: createCardWallet(info),
  };
}

function createLightningWallet({ lightning: { payUrl } }: DevInfo): LightningWallet {
  const payInvoice = async (invoice: string) => {
    const response = await fetch(payUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ invoice }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`the invoice was not paid: ${await response.text()}`);
    return paidSchema.parse(await response.json()).preimage;
  };
  const wallet = {
    payInvoice: async ({ invoice }: { invoice: string }) => ({ preimage: await payInvoice(invoice) }),
  };
  return {
    fetch: (input, init = {}) => fetchWithL402(addressOf(input), init, { wallet }),
    payInvoice,
    async balanceMsat() {
      const response = await fetch(new URL('balance', payUrl), { signal: AbortSignal.timeout(TIMEOUT_MS) });
      return balanceSchema.parse(await response.json()).msat;
    },
  };
}

function createTempoWallet({ tempo: info }: DevInfo): TempoWallet {
  const account = privateKeyToAccount(info.payerPrivateKey);
  const chain = { ...tempoModerato, id: info.chainId, rpcUrls: { default: { http: [info.rpcUrl] } } };
  const transport = http(info.rpcUrl, { timeout: TIMEOUT_MS });
  const getClient = () => createClient({ account, chain, transport, pollingInterval: POLL_MS });
  const reader = createPublicClient({ chain, transport });
  const read = async (address: `0x${string}`) => {
    const call = {
      address: info.currency,
      abi: erc20Abi,
      functionName: 'balanceOf',
      args: [address],
    } as const;
    return (await reader.readContract(call)) / UNITS_PER_MILLICENT;
  };
  return {
    ...{ account, getClient },
    fetchBy(mode) {
      const methods = [tempo.charge({ account, mode, getClient })];
      return Mppx.create({ polyfill: false, methods }).fetch;
    },
    balance: () => read(account.address),
    received: () => read(info.recipient),
  };
}

function createCardWallet({ stripe: info }: DevInfo): CardWallet {
  const ask = async (path: string, params?: Record<string, string>) => {
    const response = await fetch(`${info.apiBase}/v1/${path}`, {
      ...(params === undefined ? {} : { method: 'POST', body: new URLSearchParams(params) }),
      headers: { authorization: `Bearer ${info.agentKey}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    must(response.ok, `Stripe answers ${path}: ${response.status}`);
    return response.json();
  };
  const method = stripe.charge({
    paymentMethod: 'pm_card_visa',
    createToken: async ({ amount, currency, expiresAt, networkId = '', paymentMethod = '' }) => {
      const granted = await ask('test_helpers/shared_payment/granted_tokens', {
        payment_method: paymentMethod,
        'usage_limits[currency]': currency,
        'usage_limits[max_amount]': amount,
        'usage_limits[expires_at]': String(expiresAt),
        'seller_details[network_id]': networkId,
      });
      return tokenSchema.parse(granted).id;
    },
  });
  return {
    fetch: Mppx.create({ polyfill: false, methods: [method] }).fetch,
    // The development server shows the seller's payments to the agent's key as well.
    payments: async () => paymentsSchema.parse(await ask('payment_intents?limit=100')).data,
  };
}

function addressOf(input: Parameters<Fetch>[0]): string {
  return input instanceof Request ? input.url : String(input);
}
