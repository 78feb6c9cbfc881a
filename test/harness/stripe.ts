import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { type StripeServer, startStripe } from '../../scripts/dev/stripe.ts';
import { addMs } from '../../src/core/clock.ts';
import { type Log, silentLog } from '../../src/core/log.ts';
import { millicents } from '../../src/core/money.ts';
import { type CheckoutDeps, openCheckout } from '../../src/gateway/index.ts';
import { answerProblem, type Env, openEnvelope, stripeRoutes } from '../../src/http/index.ts';
import { claimIdOf, findClaim } from '../../src/payments/index.ts';
import {
  createStripeCheckout,
  createStripeClient,
  createStripeRail,
  createStripeWebhook,
} from '../../src/payments/rails/stripe/index.ts';
import type { TestDatabase } from './database.ts';
import { startTestGateway, type TestGateway } from './gateway.ts';

/** A gateway with the stripe rail, the account behind it, and the address that Stripe tells of events. */
export type StripeGateway = {
  gateway: TestGateway;
  stripe: StripeServer;
  webhookUrl: string;
  /** What the log said loudly. */
  errors: string[];
  open(accountId: string, amount: bigint): ReturnType<typeof openCheckout>;
  balance(accountId: string): Promise<bigint>;
  /** Waits, within bounds, until the claim of a session is over. */
  finished(sessionId: string): Promise<string>;
  /** Moves Stripe's clock. */
  advance(ms: number): void;
  close(): Promise<void>;
};

const WAIT_MS = 20_000;
const POLL_MS = 50;

export async function startStripeGateway(database: TestDatabase): Promise<StripeGateway> {
  let ahead = 0;
  const clock = { now: () => addMs(new Date(), ahead) };
  const stripe = await startStripe({ nowMs: () => clock.now().getTime() });
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (_fields, message) => void errors.push(message) };
  const parts = {
    ...{
      clock,
      log,
      networkId: stripe.networkId,
      amountMin: millicents(50_000n),
      paymentMethodTypes: ['card'],
    },
    client: createStripeClient({
      ...{ secretKey: stripe.secretKey, apiBase: stripe.apiBase, clock },
      timeouts: { requestMs: 2_000, retryMs: 20 },
    }),
    timeouts: { lookMs: 5_000, settleMs: 10_000 },
  };
  const gateway = await startTestGateway({
    database,
    change(deps) {
      deps.http.rails = [...deps.http.rails, createStripeRail(parts)];
    },
  });
  const deps: CheckoutDeps = { ...gateway.deps.http, checkout: createStripeCheckout(parts) };
  const stripeWebhook = createStripeWebhook({ secrets: [stripe.webhookSecret], clock });
  const webhook = await listen({ ...gateway.deps.http, log, stripeWebhook });
  return {
    ...{ gateway, stripe, errors, webhookUrl: webhook.url },
    open: (accountId, amount) => openCheckout(deps, { accountId }, millicents(amount)),
    balance: async (accountId) => (await deps.ledger.balance(accountId))?.balance ?? 0n,
    async finished(sessionId) {
      const deadline = Date.now() + WAIT_MS;
      for (;;) {
        const claim = await findClaim(deps.sql, claimIdOf(`stripe:${sessionId}`));
        if (claim && claim.state !== 'settling') return claim.state;
        if (Date.now() > deadline) throw new Error(`the claim of ${sessionId} is still ${claim?.state}`);
        await sleep(POLL_MS);
      }
    },
    advance(ms) {
      ahead += ms;
    },
    async close() {
      await stripe.close();
      await webhook.close();
      await gateway.close();
    },
  };
}

async function listen(deps: Parameters<typeof stripeRoutes>[0]) {
  const app = new Hono<Env>().route('/', stripeRoutes(deps));
  app.onError((error, c) => answerProblem(deps.log, error, c));
  const fetchApp = (request: Request, env: object) => {
    openEnvelope(request, env);
    return app.fetch(request, env);
  };
  // The adaptor's type covers HTTP/2 too; without options it makes a plain HTTP/1.1 server.
  const server = createAdaptorServer({ fetch: fetchApp }) as Server;
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/webhooks/stripe`,
    close: () => {
      server.closeAllConnections();
      return new Promise<unknown>((done) => server.close(done));
    },
  };
}
