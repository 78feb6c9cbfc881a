import { join } from 'node:path';
import { fetch402, fetchWithL402, fetchWithMpp } from '@getalby/lightning-tools/402';
import { wrapAxiosWithPaymentFromConfig } from '@x402/axios';
import { ExactEvmScheme } from '@x402/evm';
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from '@x402/fetch';
import axios, { type AxiosInstance } from 'axios';
import { evm, Mppx, stripe, tempo } from 'mppx/client';
import { createClient, createWalletClient, type Hex, http } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { tempoModerato } from 'viem/tempo/chains';
import { z } from 'zod';
import type { Rails } from '../../scripts/dev/rails.ts';
import { lightningClient } from '../payments/wires/mpp-fixtures.ts';
import { runCommand } from './stock-clients-child.ts';
import type { PlainInit } from './stock-clients-sales.ts';
import type { StockClient } from './stock-clients-world.ts';
import { loadX402V1Clients } from './stock-clients-x402-v1.ts';

/** Every client of the field that we know of, by name, each made with a wallet of its own. */
export const WALLETS: Record<string, (rails: Rails) => Promise<StockClient>> = {
  '@x402/fetch': async (rails) => {
    const pay = wrapFetchWithPaymentFromConfig(fetch, schemesOf(await fundEvm(rails)));
    return { rail: 'evm', keyHeader: 'authorization', pay, readReceipt: readV2 };
  },
  '@x402/axios': async (rails) => {
    const client = wrapAxiosWithPaymentFromConfig(axios.create(), schemesOf(await fundEvm(rails)));
    return { rail: 'evm', keyHeader: 'authorization', pay: payByAxios(client), readReceipt: readV2 };
  },
  'x402-fetch 1.2.0': async (rails) => {
    const { wrapFetch, decodeReceipt } = await loadX402V1Clients();
    const pay = wrapFetch(fetch, walletOf(rails, await fundEvm(rails)));
    const readReceipt = (response: Response) =>
      decodeReceipt(response.headers.get('x-payment-response') ?? '').transaction;
    return { rail: 'evm', keyHeader: 'authorization', pay, readReceipt };
  },
  'x402-axios 0.7.2': async (rails) => {
    const { wrapAxios, decodeReceipt } = await loadX402V1Clients();
    const client = wrapAxios(walletOf(rails, await fundEvm(rails)));
    const readReceipt = (response: Response) =>
      decodeReceipt(response.headers.get('x-payment-response') ?? '').transaction;
    return { rail: 'evm', keyHeader: 'authorization', pay: payByAxios(client), readReceipt };
  },
  'mppx, EIP-3009': async (rails) => {
    const account = privateKeyToAccount(await fundEvm(rails));
    return mppxClient('evm', [
      evm.charge({ account, currencies: [evm.assets.baseSepolia.USDC], maxAmount: '0.10' }),
    ]);
  },
  'mppx, Tempo (pull)': (rails) => tempoWallet(rails, 'pull'),
  'mppx, Tempo (push)': (rails) => tempoWallet(rails, 'push'),
  'mppx, a lightning method': async (rails) =>
    mppxClient('lightning', [lightningClient((invoice) => payInvoice(rails, invoice))]),
  'fetchWithL402 of @getalby/lightning-tools': async (rails) => albyClient(rails, fetchWithL402, {}),
  'fetch402 of @getalby/lightning-tools': async (rails) => albyClient(rails, fetch402, {}),
  'fetchWithMpp of @getalby/lightning-tools': async (rails) => albyClient(rails, fetchWithMpp, {}),
  'fetchWithMpp of @getalby/lightning-tools, with Accept-Payment': async (rails) =>
    albyClient(rails, fetchWithMpp, { 'accept-payment': 'lightning/charge' }),
};

/** A client written in another language from the specifications alone, by the wire it pays by. */
export const PYTHON_WALLETS: Record<string, (rails: Rails) => Promise<StockClient>> = {
  l402: async (rails) => pythonClient(rails, 'l402', { rail: 'lightning', keyHeader: 'x-api-key' }),
  mpp: async (rails) => pythonClient(rails, 'mpp', { rail: 'lightning', keyHeader: 'authorization' }),
  x402: async (rails) => pythonClient(rails, 'x402', { rail: 'evm', keyHeader: 'authorization' }),
  'x402-v1': async (rails) => pythonClient(rails, 'x402-v1', { rail: 'evm', keyHeader: 'authorization' }),
};

/** mppx with an agent's card: its wallet asks Stripe for a token that the seller alone can charge. */
export async function cardWallet(rails: Rails): Promise<StockClient> {
  const method = stripe.charge({
    paymentMethod: 'pm_card_visa',
    createToken: ({ amount, currency, expiresAt, networkId, paymentMethod }) =>
      grantToken(rails, {
        payment_method: paymentMethod ?? '',
        'usage_limits[currency]': currency,
        'usage_limits[max_amount]': amount,
        'usage_limits[expires_at]': String(expiresAt),
        'seller_details[network_id]': networkId ?? '',
      }),
  });
  return mppxClient('stripe', [method]);
}

const tokenSchema = z.object({ id: z.string() });

async function grantToken({ stripe: server }: Rails, params: Record<string, string>): Promise<string> {
  const response = await fetch(`${server.apiBase}/v1/test_helpers/shared_payment/granted_tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.agentKey}` },
    body: new URLSearchParams(params),
  });
  return tokenSchema.parse(await response.json()).id;
}

/** A tenth of what a new payer of ours would be trusted with is nobody's whole purse: ten dollars. */
async function fundEvm({ anvil }: Rails): Promise<Hex> {
  const key = generatePrivateKey();
  await anvil.mint(privateKeyToAccount(key).address, 10_000_000n);
  return key;
}

const schemesOf = (key: Hex) => ({
  schemes: [{ network: 'eip155:*' as const, client: new ExactEvmScheme(privateKeyToAccount(key)) }],
});

function walletOf({ anvil }: Rails, key: Hex) {
  const transport = http(anvil.rpcUrl);
  return createWalletClient({ account: privateKeyToAccount(key), chain: baseSepolia, transport });
}

const readV1 = (response: Response) =>
  decodePaymentResponseHeader(response.headers.get('x-payment-response') ?? '').transaction;
const readV2 = (response: Response) =>
  decodePaymentResponseHeader(response.headers.get('payment-response') ?? '').transaction;

type AnyAxios = Pick<AxiosInstance, 'request'>;

/** What axios makes of an answer, as a `Response`. */
const payByAxios =
  (client: AnyAxios) =>
  async (url: string, { method, headers, body }: PlainInit): Promise<Response> => {
    const {
      status,
      data,
      headers: received,
    } = await client.request({
      ...{ url, method, headers },
      ...(body === undefined ? {} : { data: body }),
    });
    const plain = z.record(z.string(), z.string()).parse({ ...received });
    return new Response(JSON.stringify(data), { status, headers: plain });
  };

function mppxClient(
  rail: StockClient['rail'],
  methods: Parameters<typeof Mppx.create>[0]['methods'],
): StockClient {
  const { fetch: pay } = Mppx.create({ polyfill: false, methods });
  return { rail, keyHeader: 'authorization', pay };
}

async function tempoWallet({ tempo: { rpcUrl, fundPayer } }: Rails, mode: 'pull' | 'push') {
  const account = privateKeyToAccount(await fundPayer());
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [rpcUrl] } } };
  const getClient = () => createClient({ account, chain, transport: http(rpcUrl), pollingInterval: 20 });
  return mppxClient('tempo', [tempo.charge({ account, mode, getClient })]);
}

const paidSchema = z.object({ preimage: z.string() });

async function payInvoice({ lightning }: Rails, invoice: string): Promise<string> {
  const response = await fetch(lightning.payUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ invoice }),
  });
  return paidSchema.parse(await response.json()).preimage;
}

function albyClient(rails: Rails, pay: typeof fetch402, more: Record<string, string>): StockClient {
  const wallet = {
    payInvoice: async ({ invoice }: { invoice: string }) => ({ preimage: await payInvoice(rails, invoice) }),
  };
  return {
    ...{ rail: 'lightning', keyHeader: 'x-api-key' },
    pay: (url, init) => pay(url, { ...init, headers: { ...init.headers, ...more } }, { wallet }),
  };
}

const PAYER = join(import.meta.dirname, 'clients/payer.py');
const answerSchema = z.object({
  status: z.number(),
  headers: z.record(z.string(), z.string()),
  body: z.string(),
});

async function pythonClient(
  rails: Rails,
  wire: string,
  client: Pick<StockClient, 'rail' | 'keyHeader'>,
): Promise<StockClient> {
  const key = await fundEvm(rails);
  return {
    ...client,
    async pay(url, { method, headers, body }) {
      const lines = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
      const data = body === undefined ? [] : ['--data', body];
      const output = await runCommand(
        'python3',
        [
          ...['-B', PAYER, url, '--wire', wire, '--method', method, '--pay-url', rails.lightning.payUrl],
          ...lines,
          ...data,
        ],
        { PATH: process.env.PATH ?? '', PAYER_KEY: key },
      );
      const answer = answerSchema.parse(JSON.parse(output));
      return new Response(answer.body, { status: answer.status, headers: answer.headers });
    },
    ...(wire === 'x402' ? { readReceipt: readV2 } : {}),
    ...(wire === 'x402-v1' ? { readReceipt: readV1 } : {}),
  };
}
