import { randomBytes } from 'node:crypto';
import { createFaults, type Faults } from './stripe/faults.ts';
import { disputeCharge } from './stripe/money.ts';
import type { Charge, Event, PaymentIntent, Session } from './stripe/objects.ts';
import { startApiServer } from './stripe/server.ts';
import { completeSession, paySession } from './stripe/sessions.ts';
import { grantToken } from './stripe/tokens.ts';
import { createWebhooks, type Delivery, signPayload } from './stripe/webhooks.ts';
import { createWorld } from './stripe/world.ts';

export type StripeOptions = {
  /** Where events are sent; they can be asked for and sent by hand as well. */
  webhookUrl?: string;
  /** Chosen by the system when left out. */
  port?: number;
  /** Moves its clock, for what takes days. */
  nowMs?: () => number;
};

export type Grant = {
  /** In cents. */
  maxAmount: number;
  paymentMethod?: string;
  currency?: string;
  /** Unix seconds; five minutes from now when left out. */
  expiresAt?: number;
  /** Another seller's profile. */
  networkId?: string;
};

/** A Stripe account in memory: the endpoints the gateway and its payers use, behind Stripe's own client. */
export type StripeServer = {
  apiBase: string;
  secretKey: string;
  /** What an agent's side calls the API with. */
  agentKey: string;
  webhookSecret: string;
  networkId: string;
  /** A shared payment token, as an agent's wallet grants it. */
  grantToken(grant: Grant): string;
  /** Pays a session as a person does on its page. */
  payCheckout(sessionId: string, paymentMethod?: string): Session;
  /** For payment methods that take days: what the bank says in the end. */
  completeCheckout(sessionId: string, isPaid: boolean): Session;
  /** A cardholder disputes a charge. */
  dispute(chargeId: string): void;
  charges(): Charge[];
  payments(): PaymentIntent[];
  sessions(): Session[];
  /** Cents: what cards were charged, less refunds; what Stripe kept of it; what is left. */
  sums(): { gross: number; fees: number; net: number };
  events(): Event[];
  /** `Stripe-Signature` of a payload, at another time where given. */
  sign(payload: string, seconds?: number): string;
  /** Sends an event, again or for the first time, and answers the status it got. */
  deliver(event: Event): Promise<number>;
  deliveries(): Delivery[];
  setWebhookUrl(url: string | undefined): void;
  faults: Faults;
  close(): Promise<void>;
};

const API_VERSION = '2026-10-28.endive';
const GRANT_SECONDS = 300;

/** Starts a server that answers like Stripe, for development and tests: nothing in `src` knows it. */
export async function startStripe(options: StripeOptions = {}): Promise<StripeServer> {
  const nowMs = options.nowMs ?? Date.now;
  const [secretKey, webhookSecret] = [newSecret('sk_test_'), newSecret('whsec_')];
  const networkId = newSecret('profile_test_');
  const webhooks = createWebhooks({ secret: webhookSecret, url: options.webhookUrl, nowMs });
  const world = createWorld({ networkId, nowMs, apiVersion: API_VERSION, onEvent: webhooks.send });
  const faults = createFaults();
  const { port = 0 } = options;
  const server = await startApiServer({ world, faults, secretKey, nowMs, apiVersion: API_VERSION, port });
  return {
    ...{ secretKey, webhookSecret, networkId, faults, apiBase: server.apiBase },
    agentKey: newSecret('sk_test_agent'),
    grantToken: (grant) =>
      grantToken(world, {
        payment_method: grant.paymentMethod ?? 'pm_card_visa',
        currency: grant.currency ?? 'usd',
        max_amount: grant.maxAmount,
        expires_at: grant.expiresAt ?? world.now() + GRANT_SECONDS,
        network: grant.networkId,
        metadata: {},
      }).id,
    payCheckout: (id, method = 'pm_card_visa') => paySession(world, id, method),
    completeCheckout: (id, isPaid) => completeSession(world, id, isPaid),
    dispute(id) {
      const charge = world.charges.get(id);
      if (!charge) throw new Error(`there is no charge ${id}`);
      disputeCharge(world, charge);
    },
    charges: () => [...world.charges.values()],
    payments: () => [...world.payments.values()],
    sessions: () => [...world.sessions.values()].map(({ session }) => session),
    sums() {
      const all = [...world.transactions.values()];
      const total = (of: (row: (typeof all)[number]) => number) => all.reduce((sum, row) => sum + of(row), 0);
      return {
        gross: total((row) => row.amount),
        fees: total((row) => row.fee),
        net: total((row) => row.net),
      };
    },
    events: () => [...world.events],
    sign: (payload, seconds = Math.floor(nowMs() / 1_000)) => signPayload(webhookSecret, payload, seconds),
    deliver: webhooks.deliver,
    deliveries: () => [...webhooks.deliveries],
    setWebhookUrl: webhooks.setUrl,
    async close() {
      await webhooks.close();
      await server.close();
    },
  };
}

function newSecret(prefix: string): string {
  return `${prefix}${randomBytes(18).toString('hex')}`;
}
