import { z } from 'zod';
import { invalidRequest, noSuch } from './api-error.ts';
import type { Operation } from './faults.ts';
import { listPage, parseQuery } from './lists.ts';
import { expand, flag, integer, metadata, readParams, type Tree } from './params.ts';
import { cancelPayment, capturePayment, createPayment, getPayment } from './payments.ts';
import { createRefund } from './refunds.ts';
import { createSession, expireSession, getSession } from './sessions.ts';
import { getToken, grantToken, revokeToken } from './tokens.ts';
import type { World } from './world.ts';

export type Call = { id: string; params: Tree; apiVersion: string };

export type Endpoint = {
  operation: Operation;
  method: 'GET' | 'POST';
  path: RegExp;
  run(world: World, call: Call): object;
};

const ID = '([A-Za-z0-9_]+)';
const at = (path: string) => new RegExp(`^/v1/${path.replace(':id', ID)}$`);
const onlyExpand = z.strictObject({ expand: expand.optional() });
const page = {
  limit: integer.pipe(z.number().min(1).max(100)).default(10),
  starting_after: z.string().optional(),
  expand: expand.optional(),
};
const created = z.strictObject({ gte: integer.optional(), lte: integer.optional() }).optional();

/** Endpoints that were in private preview longest need the version that has them. */
function requirePreview({ apiVersion }: Call, param: string): void {
  if (apiVersion.endsWith('.preview')) return;
  throw invalidRequest(`Received unknown parameter: ${param}`, {
    code: 'parameter_unknown',
    param,
    isKept: false,
  });
}

const grantSchema = z.strictObject({
  payment_method: z.string(),
  usage_limits: z.strictObject({
    currency: z.string().length(3),
    max_amount: integer,
    expires_at: integer.optional(),
  }),
  seller_details: z
    .strictObject({
      network_id: z.string().optional(),
      network_business_profile: z.string().optional(),
      external_id: z.string().optional(),
    })
    .optional(),
  shared_metadata: metadata.optional(),
  metadata: metadata.optional(),
  expand: expand.optional(),
});

const paymentSchema = z.strictObject({
  amount: integer,
  currency: z.string().length(3).toLowerCase(),
  confirm: flag.default(false),
  capture_method: z.enum(['automatic', 'automatic_async', 'manual']).default('automatic_async'),
  automatic_payment_methods: z
    .strictObject({ enabled: flag, allow_redirects: z.enum(['always', 'never']).default('always') })
    .optional(),
  description: z.string().optional(),
  metadata: metadata.default({}),
  payment_method: z.string().optional(),
  payment_method_data: z.strictObject({ shared_payment_granted_token: z.string() }).optional(),
  shared_payment_granted_token: z.string().optional(),
  expand: expand.optional(),
});

const sessionSchema = z.strictObject({
  mode: z.literal('payment'),
  ui_mode: z.literal('hosted_page').default('hosted_page'),
  line_items: z
    .array(
      z.strictObject({
        quantity: integer,
        price_data: z.strictObject({
          currency: z.string().length(3).toLowerCase(),
          unit_amount: integer,
          product_data: z.strictObject({ name: z.string().min(1), description: z.string().optional() }),
        }),
      }),
    )
    .min(1),
  client_reference_id: z.string().max(200).optional(),
  metadata: metadata.default({}),
  payment_intent_data: z.strictObject({ metadata: metadata.default({}) }).optional(),
  success_url: z.url(),
  cancel_url: z.url().optional(),
  expires_at: integer.optional(),
  expand: expand.optional(),
});

const refundSchema = z.strictObject({
  charge: z.string().optional(),
  payment_intent: z.string().optional(),
  amount: integer.optional(),
  reason: z.enum(['duplicate', 'fraudulent', 'requested_by_customer']).optional(),
  metadata: metadata.default({}),
  expand: expand.optional(),
});

function grant(world: World, { params }: Call): object {
  const input = readParams(grantSchema, params);
  const { seller_details: seller, usage_limits: limits } = input;
  return grantToken(world, {
    payment_method: input.payment_method,
    ...limits,
    expires_at: limits.expires_at,
    network: seller?.network_business_profile ?? seller?.network_id,
    metadata: input.shared_metadata ?? input.metadata ?? {},
  });
}

function pay(world: World, call: Call): object {
  const input = readParams(paymentSchema, call.params);
  const spt = input.shared_payment_granted_token ?? input.payment_method_data?.shared_payment_granted_token;
  if (spt !== undefined) requirePreview(call, 'shared_payment_granted_token');
  return createPayment(world, {
    ...input,
    automatic_payment_methods: input.automatic_payment_methods ?? null,
    description: input.description ?? null,
    payment_method: input.payment_method,
    spt,
  });
}

function openSession(world: World, { params }: Call): object {
  const input = readParams(sessionSchema, params);
  const [first] = input.line_items;
  return createSession(world, {
    amount: input.line_items.reduce((sum, item) => sum + item.quantity * item.price_data.unit_amount, 0),
    currency: first?.price_data.currency ?? 'usd',
    cancel_url: input.cancel_url ?? null,
    client_reference_id: input.client_reference_id ?? null,
    expires_at: input.expires_at,
    metadata: input.metadata,
    paymentMetadata: input.payment_intent_data?.metadata ?? {},
    success_url: input.success_url,
  });
}

function readBalance(world: World): object {
  const sum = (isAvailable: boolean) =>
    [...world.transactions.values()]
      .filter(({ available_on }) => available_on <= world.now() === isAvailable)
      .reduce((total, { net }) => total + net, 0);
  const inUsd = (amount: number) => [{ amount, currency: 'usd', source_types: { card: amount } }];
  return { object: 'balance', available: inUsd(sum(true)), pending: inUsd(sum(false)), livemode: false };
}

function find<T>(map: Map<string, T>, what: string, id: string): T {
  const found = map.get(id);
  if (found === undefined) throw noSuch(what, id);
  return found;
}

function get(operation: Operation, path: string, run: Endpoint['run']): Endpoint {
  return { operation, method: 'GET', path: at(path), run };
}

function post(operation: Operation, path: string, run: Endpoint['run']): Endpoint {
  return { operation, method: 'POST', path: at(path), run };
}

/** For endpoints that take an id and nothing else. */
function byId(run: (world: World, id: string) => object): Endpoint['run'] {
  return (world, { id, params }) => {
    readParams(onlyExpand, params);
    return run(world, id);
  };
}

/** Every endpoint there is, by the paths of the API reference. */
export function listEndpoints(faults: { searchLagMs(): number }): Endpoint[] {
  return [
    post('token.grant', 'test_helpers/shared_payment/granted_tokens', grant),
    post('token.revoke', 'test_helpers/shared_payment/granted_tokens/:id/revoke', byId(revokeToken)),
    get('token.retrieve', 'shared_payment/granted_tokens/:id', (world, call) => {
      requirePreview(call, 'shared_payment');
      return byId(getToken)(world, call);
    }),
    post('payment.create', 'payment_intents', pay),
    get('payment.list', 'payment_intents', (world, { params }) => {
      const input = readParams(z.strictObject({ ...page, created }), params);
      const { starting_after, limit } = input;
      const rows = world.payments.values();
      return listPage('/v1/payment_intents', rows, { limit, starting_after, created: input.created });
    }),
    get('payment.search', 'payment_intents/search', (world, { params }) => {
      const schema = z.strictObject({ query: z.string(), limit: page.limit, expand: expand.optional() });
      const { query, limit } = readParams(schema, params);
      const isHit = parseQuery(query);
      const indexed = world.now() - faults.searchLagMs() / 1_000;
      const hits = [...world.payments.values()].filter((row) => row.created <= indexed && isHit(row));
      const data = hits.reverse().slice(0, limit);
      const url = '/v1/payment_intents/search';
      return { object: 'search_result', data, has_more: hits.length > limit, next_page: null, url };
    }),
    get('payment.retrieve', 'payment_intents/:id', byId(getPayment)),
    post('payment.capture', 'payment_intents/:id/capture', (world, { id, params }) => {
      const schema = z.strictObject({ amount_to_capture: integer.optional(), expand: expand.optional() });
      return capturePayment(world, id, readParams(schema, params).amount_to_capture);
    }),
    post('payment.cancel', 'payment_intents/:id/cancel', (world, { id, params }) => {
      const schema = z.strictObject({
        cancellation_reason: z.string().optional(),
        expand: expand.optional(),
      });
      return cancelPayment(world, id, readParams(schema, params).cancellation_reason);
    }),
    post('session.create', 'checkout/sessions', openSession),
    get('session.retrieve', 'checkout/sessions/:id', byId(getSession)),
    post('session.expire', 'checkout/sessions/:id/expire', byId(expireSession)),
    get(
      'charge.retrieve',
      'charges/:id',
      byId((world, id) => find(world.charges, 'charge', id)),
    ),
    get(
      'transaction.retrieve',
      'balance_transactions/:id',
      byId((world, id) => find(world.transactions, 'balance transaction', id)),
    ),
    get('transaction.list', 'balance_transactions', (world, { params }) => {
      const input = readParams(z.strictObject({ ...page, created }), params);
      const { starting_after, limit } = input;
      const rows = world.transactions.values();
      return listPage('/v1/balance_transactions', rows, { limit, starting_after, created: input.created });
    }),
    get('balance.retrieve', 'balance', readBalance),
    post('refund.create', 'refunds', (world, { params }) => {
      const { charge, payment_intent, amount, reason, ...rest } = readParams(refundSchema, params);
      return createRefund(world, { charge, payment_intent, amount, reason, metadata: rest.metadata });
    }),
  ];
}
