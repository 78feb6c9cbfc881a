import { createHash, randomBytes } from 'node:crypto';
import { Method, Challenge as MppxChallenge, Credential as MppxCredential, z } from 'mppx';
import { evm, Mppx } from 'mppx/client';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { silentLog } from '../../../src/core/log.ts';
import type { Bolt11Offer, Eip3009Offer, Offer, SptOffer, TempoOffer } from '../../../src/payments/rail.ts';
import type { Carried, Challenge, ChallengeInput, Wire } from '../../../src/payments/wire.ts';
import { createMppWire } from '../../../src/payments/wires/mpp/index.ts';
import { quoteOf } from '../rails/conformance.ts';
import { carriedBy } from './conformance.ts';

export const REALM = 'gateway.example';
export const secret = randomBytes(32);
export const payer = privateKeyToAccount(generatePrivateKey());
export const preimage = randomBytes(32).toString('hex');
export const paymentHash = createHash('sha256').update(Buffer.from(preimage, 'hex')).digest('hex');

export const evmOffer: Eip3009Offer = {
  kind: 'eip3009',
  network: 'eip155:84532',
  asset: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
  payTo: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C',
  units: 2_500n,
  tokenName: 'USDC',
  tokenVersion: '2',
  timeoutSeconds: 125,
};
export const tempoOffer: TempoOffer = {
  kind: 'tempo',
  network: 'eip155:42431',
  currency: '0x20C0000000000000000000000000000000000000',
  recipient: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C',
  units: 2_500n,
};
export const sptOffer: SptOffer = {
  kind: 'spt',
  currency: 'usd',
  units: 50n,
  networkId: 'profile_1MowQwLkdIwHu7ixraBm864M',
  paymentMethodTypes: ['card', 'link'],
};
export const bolt11Offer: Bolt11Offer = {
  kind: 'bolt11',
  // As long as a real one with a route hint; no client here decodes it.
  invoice: `lnbcrt25u1${'pvjluezsp5zyg3zyg3zyg3zyg'.repeat(15)}`,
  paymentHash,
  sats: 4n,
  network: 'regtest',
  isHold: false,
};
export const everyOffer: Offer[] = [bolt11Offer, sptOffer, tempoOffer, evmOffer];

let now: Date | undefined;
/** The wire's clock: the real one, unless a test sets it. */
export function setNow(date: Date | undefined): void {
  now = date;
}

export function wireOf(secrets: Buffer[] = [secret], realm = REALM): Wire {
  return createMppWire({ secrets, realm, clock: { now: () => now ?? new Date() }, log: silentLog });
}

/** A request with these headers and this content, as a carrier hands it over. */
export function request(headers: Record<string, string>, content?: string): Carried {
  const digest = content === undefined ? undefined : createHash('sha256').update(content).digest('base64');
  return { ...carriedBy(headers), method: 'POST', bodyDigest: () => digest };
}

export function challengeOf(wire: Wire, changes: Partial<ChallengeInput> = {}): Challenge {
  const challenge = wire.challenge({
    ...{ quote: quoteOf(), quoteToken: 'q2.token', offers: everyOffer },
    ...{ carried: carriedBy({}), refusal: undefined, ...changes },
  });
  if (!challenge) throw new Error('no challenge');
  return challenge;
}

/** The 402 as an HTTP client sees it. */
export function responseOf({ headers }: Challenge): Response {
  return new Response(null, { status: 402, headers });
}

/** The challenge of one method, as the stock implementation reads it. */
export function readChallenge(challenge: Challenge, method: string): MppxChallenge.Challenge {
  const found = MppxChallenge.fromResponseList(responseOf(challenge)).find((one) => one.method === method);
  if (!found) throw new Error(`no challenge for ${method}`);
  return found;
}

/** A credential with any payload, as the stock implementation spells it. */
export function spell(challenge: MppxChallenge.Challenge, payload: unknown, source?: string): string {
  return MppxCredential.serialize(
    MppxCredential.from({ challenge, payload, ...(source === undefined ? {} : { source }) }),
  );
}

/** The credential of the unmodified client, paying by EIP-3009. */
export function payByEvm(challenge: Challenge, account = payer): Promise<string> {
  const client = Mppx.create({
    polyfill: false,
    methods: [evm.charge({ account, networks: [84_532], authorization: { name: 'USDC', version: '2' } })],
  });
  return client.createCredential(responseOf(challenge));
}

const lightningMethod = Method.from({
  name: 'lightning',
  intent: 'charge',
  schema: {
    credential: { payload: z.object({ preimage: z.string() }) },
    request: z.object({
      amount: z.string(),
      currency: z.string(),
      methodDetails: z.object({ invoice: z.string() }),
    }),
  },
});

/** Lightning as a method of the stock client: it pays the invoice and shows the preimage. */
export function lightningClient(pay: (invoice: string) => Promise<string>) {
  return Method.toClient(lightningMethod, {
    async createCredential({ challenge }) {
      const shown = await pay(challenge.request.methodDetails.invoice);
      return MppxCredential.serialize(MppxCredential.from({ challenge, payload: { preimage: shown } }));
    },
  });
}
