import { z } from 'zod';
import { Problem } from '../core/problem.ts';
import {
  type Arrival,
  type Authorization,
  type Carried,
  claimIdOf,
  type Failure,
  findClaim,
  type Quote,
} from '../payments/index.ts';
import { signUpDemand, signUpPurchase, topUpDemand, topUpPurchase } from './account.ts';
import { exampleSale, isExample } from './built-in.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { guardClaim } from './guard-claim.ts';
import { letGo } from './let-go.ts';
import { openCallClaim, openPurchaseClaim } from './open-claim.ts';
import { type Order, orderSchema } from './order.ts';
import { type Purchase, settlePurchase } from './purchase.ts';
import { resolveSale } from './resolve-sale.ts';
import { loadClaim, runThenSettle, settleThenRun } from './run-claim.ts';
import { type Sale, toDemand } from './sale.ts';

const pendingSchema = z.object({ quoteToken: z.string(), order: orderSchema });
/** Nobody is at the other end: the request was sent with the challenge, and comes again with the preimage. */
const NOBODY: Carried = { header: () => undefined };

const UNORDERED: Failure = {
  problem: 'credential-used',
  detail: 'This payment came after its challenge had expired, so it bought nothing.',
};

/**
 * Does what a payment that came by itself was for: runs its call, or gives what it bought. Its payer shows the
 * preimage later and is given the stored answer. Safe to be told of the same arrival again, and by several
 * gateways at once: the claim decides who is at it.
 */
export async function acceptArrival(deps: GatewayDeps, arrival: Arrival): Promise<void> {
  const { authorization, quoteHash } = arrival;
  if (await findClaim(deps.sql, claimIdOf(authorization.claimKey))) return;
  const found = await findOrder(deps, quoteHash);
  if (!found) return letGo(deps, { authorization, quoteHash, demand: undefined, failure: UNORDERED });
  const { order, quote } = found;
  try {
    await fulfil(deps, { authorization, order, quote });
  } catch (cause) {
    if (!(cause instanceof Problem)) throw cause;
    // Before there was a claim the order was refused (its tool is gone or paused); after, the claim says why.
    const failure = { problem: cause.type, detail: cause.message };
    const demand = { purpose: quote.purpose, amount: quote.amount, requestDigest: quote.requestDigest };
    await letGo(deps, { authorization, quoteHash, demand, failure });
  }
}

type Ordered = { authorization: Authorization; order: Order; quote: Omit<Quote, 'resource'> };

async function findOrder(
  deps: GatewayDeps,
  quoteHash: Buffer,
): Promise<{ order: Order; quote: Omit<Quote, 'resource'> } | undefined> {
  const body = await deps.pending.load(quoteHash);
  if (body === undefined) return undefined;
  const { quoteToken, order } = pendingSchema.parse(JSON.parse(body));
  const opening = deps.quotes.open(quoteToken);
  return opening.kind === 'open' ? { order, quote: opening.quote } : undefined;
}

async function fulfil(deps: GatewayDeps, ordered: Ordered): Promise<void> {
  const { order, quote, authorization } = ordered;
  switch (order.kind) {
    case 'call':
      return fulfilCall(deps, ordered, await resolveOrder(deps, order));
    case 'signup': {
      const input = { role: order.role, label: order.label };
      const purchase = signUpPurchase(deps, input, authorization.claimKey);
      return fulfilPurchase(deps, ordered, signUpDemand(deps, input, NOBODY), purchase);
    }
    case 'topup': {
      const demand = topUpDemand(deps, order, quote.amount, NOBODY);
      return fulfilPurchase(deps, ordered, demand, topUpPurchase(order));
    }
    default:
      return order satisfies never;
  }
}

/** The sale that was priced, of the version that was priced. */
async function resolveOrder(deps: GatewayDeps, order: Extract<Order, { kind: 'call' }>): Promise<Sale> {
  const { request, version } = order;
  if (isExample(request)) return exampleSale(deps, request.arguments);
  const sale = await resolveSale(deps, { ...request, version });
  // The request is what its caller sent: the hash is over that, pinned or not.
  return { ...sale, request: toRequest(request) };
}

function toRequest({ version, ...request }: Extract<Order, { kind: 'call' }>['request']): Sale['request'] {
  return version === undefined ? request : { ...request, version };
}

async function fulfilCall(deps: GatewayDeps, ordered: Ordered, sale: Sale): Promise<void> {
  const { authorization, quote } = ordered;
  const rail = deps.rails.find(({ name }) => name === authorization.rail);
  if (!rail) return;
  const demand = toDemand(sale, NOBODY);
  const payment = toUnattended(authorization, quote, demand);
  const opened = await openCallClaim(deps, sale, demand, payment);
  if (opened.kind !== 'after-run' && opened.kind !== 'before-run') return;
  const { claimId } = opened;
  const call = { sale, demand, rail };
  await guardClaim(deps, demand, claimId, () =>
    opened.kind === 'after-run' ? runThenSettle(deps, call, claimId) : settleThenRun(deps, call, claimId),
  );
}

async function fulfilPurchase(
  deps: GatewayDeps,
  { authorization, quote }: Ordered,
  demand: Demand,
  purchase: Purchase,
): Promise<void> {
  const opened = await openPurchaseClaim(deps, demand, toUnattended(authorization, quote, demand), purchase);
  if (opened.kind !== 'before-run') return;
  await settlePurchase(deps, demand, await loadClaim(deps, opened.claimId));
}

function toUnattended(authorization: Authorization, quote: Ordered['quote'], demand: Demand) {
  const { resource } = demand;
  return { authorization, quote: { ...quote, resource }, wire: null, isEcho: true, isUnattended: true };
}
