import { randomBytes } from 'node:crypto';
import { Credential } from 'mppx';
import { Mppx, stripe as stripeMethod, tempo as tempoMethod } from 'mppx/client';
import { createClient, type Hex, http } from 'viem';
import { type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import { readContract } from 'viem/actions';
import { tempoModerato } from 'viem/tempo/chains';
import { z } from 'zod';
import { createInvoices } from '../../../src/payments/index.ts';
import type { RailName, TempoOffer } from '../../../src/payments/rail.ts';
import { tokenAbi } from '../../../src/payments/rails/tempo/token.ts';
import { TEST_SECRET } from '../../harness/gateway.ts';
import type { RailLab } from '../../harness/rail-lab.ts';
import { inSeconds, signTransaction } from '../../payments/rails/tempo/sign.ts';
import { createAgent, tokenBalance } from '../fixtures.ts';

/** Somebody who pays by one rail. */
export type Payer = {
  /** The headers that pay the challenge of this 402, made anew each time; on some rails money moves already. */
  pay(response: Response): Promise<Record<string, string>>;
  /** Its name, and what shows that it asks, where the rail knows payers by an address that signs. */
  credit?: CreditOwner;
};

/** A payer by its CAIP-10 name, and its signature over a text. */
export type CreditOwner = { payer: string; sign(message: string): Promise<Hex> };

/** A rail as a client meets it. */
export type RailCase = {
  name: string;
  rail: RailName;
  /** What one call costs, and what that is on the rail. */
  price: number;
  units: bigint;
  createPayer(lab: RailLab): Promise<Payer>;
  /** Everything that payers have lost to us so far. */
  received(lab: RailLab): Promise<bigint>;
};

export const CHEAP = 250;
export const DEAR = 60_000;

const tempoCase = { rail: 'tempo', price: CHEAP, units: 2_500n, received: receivedOnTempo } as const;

/** Every way to pay for a call. */
export const RAIL_CASES = {
  evm: {
    ...{ name: 'evm', rail: 'evm', price: CHEAP, units: 2_500n },
    async createPayer(lab) {
      const agent = await createAgent(lab.anvil);
      return { pay: (response) => agent.sign(response), credit: ownCredit(lab.anvil, agent.account) };
    },
    received: (lab) => tokenBalance(lab.anvil, lab.anvil.payTo),
  },
  pull: {
    ...{ ...tempoCase, name: 'tempo pull' },
    createPayer: (lab) => payOnTempo(lab, 'pull'),
  },
  push: {
    ...{ ...tempoCase, name: 'tempo push' },
    createPayer: (lab) => payOnTempo(lab, 'push'),
  },
  lightning: {
    ...{ name: 'lightning', rail: 'lightning', price: CHEAP, units: 3_000n },
    createPayer: async (lab) => ({ pay: (response) => payInvoice(lab, response) }),
    // What the agent still owns, less: only differences are looked at.
    received: async (lab) => -(await lab.lightning.agentBalance()),
  },
  stripe: {
    ...{ name: 'stripe', rail: 'stripe', price: DEAR, units: 60n },
    createPayer: async (lab) => payWithMppx(createStripeClient(lab)),
    received: async (lab) => BigInt(lab.stripe.sums().gross),
  },
} satisfies Record<string, RailCase>;

export const ALL_CASES: RailCase[] = Object.values(RAIL_CASES);

type MppxClient = { createCredential(response: Response): Promise<string> };

function payWithMppx(client: MppxClient): Payer {
  return {
    pay: async (response) => ({ 'payment-authorization': await client.createCredential(response) }),
  };
}

async function payOnTempo(lab: RailLab, mode: 'pull' | 'push'): Promise<Payer> {
  const key = await lab.tempo.fundPayer();
  const paying = payWithMppx(createTempoClient(lab, key, mode));
  return { ...paying, credit: ownCredit(lab.tempo, privateKeyToAccount(key)) };
}

export function ownCredit({ chainId }: { chainId: number }, account: PrivateKeyAccount): CreditOwner {
  return {
    payer: `eip155:${chainId}:${account.address.toLowerCase()}`,
    sign: (message) => account.signMessage({ message }),
  };
}

/** The stock client with a wallet on Tempo. */
export function createTempoClient(lab: RailLab, key: Hex, mode: 'pull' | 'push') {
  const { rpcUrl } = lab.tempo;
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [rpcUrl] } } };
  const account = privateKeyToAccount(key);
  const getClient = () => createClient({ account, chain, transport: http(rpcUrl), pollingInterval: 20 });
  return Mppx.create({
    polyfill: false,
    maxPaymentRetries: 3,
    methods: [tempoMethod.charge({ account, mode, getClient })],
  });
}

/** The stock client with a wallet that grants tokens on a card. */
export function createStripeClient({ stripe }: RailLab, paymentMethod = 'pm_card_visa') {
  return Mppx.create({
    polyfill: false,
    maxPaymentRetries: 3,
    methods: [
      stripeMethod({
        paymentMethod,
        createToken: async ({ amount, currency, expiresAt, networkId }) =>
          stripe.grantToken({
            ...{ maxAmount: Number(amount), currency, expiresAt, paymentMethod },
            ...(networkId === undefined ? {} : { networkId }),
          }),
      }),
    ],
  });
}

async function receivedOnTempo({ tempo }: RailLab): Promise<bigint> {
  return balanceOnTempo(tempo, tempo.recipient);
}

export function balanceOnTempo(tempo: RailLab['tempo'], address: Hex): Promise<bigint> {
  const client = createClient({ chain: tempoModerato, transport: http(tempo.rpcUrl), cacheTime: 0 });
  return readContract(client, {
    ...{ address: tempo.currency, abi: tokenAbi, functionName: 'balanceOf', args: [address] },
  });
}

/** What a 402 offers by Lightning. */
export function readInvoice(response: Response): { macaroon: string; invoice: string } {
  const challenge = response.headers.get('www-authenticate') ?? '';
  const [, macaroon] = /macaroon="([^"]+)"/.exec(challenge) ?? [];
  const [, invoice] = /invoice="([^"]+)"/.exec(challenge) ?? [];
  if (!macaroon || !invoice) throw new Error(`no invoice in ${response.status}: ${challenge}`);
  return { macaroon, invoice };
}

export const l402 = (macaroon: string, preimage = '') => ({ authorization: `L402 ${macaroon}:${preimage}` });

async function payInvoice({ lightning }: RailLab, response: Response): Promise<Record<string, string>> {
  const { macaroon, invoice } = readInvoice(response);
  const paid = await lightning.pay(invoice);
  if ('error' in paid) throw new Error(paid.error);
  return l402(macaroon, paid.preimage);
}

/** The preimage of an invoice that nobody has paid, as a thief of the database's secret would know it. */
export async function stealPreimage({ database }: RailLab, paymentHash: string): Promise<string> {
  const invoices = createInvoices({ sql: database.sql, secrets: [Buffer.from(TEST_SECRET, 'hex')] });
  const invoice = await invoices.find(paymentHash);
  if (!invoice?.preimage) throw new Error(`there is no preimage of ${paymentHash}`);
  return invoice.preimage;
}

/**
 * A payer on Tempo whose transaction stays good for minutes, so that what comes of it hangs on no clock: the
 * stock client signs for 25 seconds.
 */
export async function createPatientPayer(lab: RailLab): Promise<Payer & { key: Hex }> {
  const key = await lab.tempo.fundPayer();
  const stock = createTempoClient(lab, key, 'pull');
  return {
    key,
    async pay(response) {
      const credential = Credential.deserialize(await stock.createCredential(response));
      const { id: challengeId, realm, request } = credential.challenge;
      const { amount, currency, recipient, methodDetails } = tempoRequestSchema.parse(request);
      const offer: TempoOffer = {
        ...{ kind: 'tempo', network: `eip155:${methodDetails.chainId}`, units: BigInt(amount) },
        ...{ currency, recipient },
      };
      // A nonce of a lane of its own, which counts.
      const lane = { nonceKey: BigInt(`0x${randomBytes(8).toString('hex')}`), nonce: 0n };
      const terms = { key, challengeId, realm, validBefore: inSeconds(PATIENT_SECONDS), ...lane };
      const payload = { type: 'transaction', signature: signTransaction(offer, terms) };
      return { 'payment-authorization': Credential.serialize({ ...credential, payload }) };
    },
  };
}

const PATIENT_SECONDS = 600;
const hex = z.custom<Hex>((value) => typeof value === 'string' && /^0x[0-9a-f]+$/i.test(value));
const tempoRequestSchema = z.object({
  ...{ amount: z.string(), currency: hex, recipient: hex },
  methodDetails: z.object({ chainId: z.number() }),
});
