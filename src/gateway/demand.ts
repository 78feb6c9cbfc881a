import { toIsoText } from '../core/clock.ts';
import type { Millicents } from '../core/money.ts';
import { formatDollars, toWireNumber } from '../core/money.ts';
import { Problem } from '../core/problem.ts';
import {
  type Carried,
  type Challenge,
  type ChallengeInput,
  type Credential,
  hashQuoteId,
  type Offer,
  type OfferInput,
  type Purpose,
  type Quote,
  type Rail,
  type RailName,
  type Refusal,
  type Wire,
} from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';
import type { Order } from './order.ts';

/** What has to be paid for, and how much. */
export type Demand = {
  purpose: Purpose;
  amount: Millicents;
  /** SHA-256 over the request, hex. */
  requestDigest: string;
  resource: { url: string; description: string };
  runTimeoutMs: number;
  /** What came with the request: who asks, and what the challenge has to be bound to. */
  carried: Carried;
  /** What is asked for, so that it can be done when the payment comes by itself. */
  order: Order;
};

export type DemandDeps = Pick<
  GatewayDeps,
  'wires' | 'rails' | 'challengeBound' | 'quotes' | 'pending' | 'log' | 'settings'
>;

/**
 * The 402 for a demand, with every wire's challenge. `error` says why what was shown does not pay.
 * Without any rail it is a 501, and while every rail is down a 503.
 */
export async function demandPayment(
  deps: DemandDeps,
  demand: Demand,
  refusal?: Refusal & { members?: Record<string, unknown> },
): Promise<Problem> {
  if (deps.rails.length === 0) {
    return new Problem('no-rail', {
      detail: `${refusal ? `${refusal.detail} ` : ''}This gateway has no payment rail configured: ask its operator for a key.`,
      isUncharged: true,
    });
  }
  const signal = deps.challengeBound();
  const quote = deps.quotes.issue(demand);
  const asked = await listOffers(deps, demand.carried, quote, signal);
  const quoteToken = deps.quotes.seal(quote);
  const isInvoiced = asked.some(({ kind }) => kind === 'bolt11');
  const offers = isInvoiced
    ? await keepOrder(deps, { order: demand.order, quote, quoteToken }, asked)
    : asked;
  const { carried } = demand;
  const input = { quote, quoteToken, offers, carried, refusal };
  const challenges = orderWires(deps.wires, carried, refusal)
    .map((wire) => wire.challenge(input))
    .filter((challenge) => challenge !== undefined);
  if (challenges.length === 0) return explainNoOffer(deps, demand, signal, refusal?.detail);
  return toPaymentProblem(input, challenges, refusal?.members);
}

/** The 402 that these challenges make. */
export function toPaymentProblem(
  { quote, refusal }: Pick<ChallengeInput, 'quote' | 'refusal'>,
  challenges: readonly Challenge[],
  further: Record<string, unknown> | undefined,
): Problem {
  const headers: [name: string, value: string][] = [];
  const members: Record<string, unknown> = {
    amount_mcents: toWireNumber(quote.amount),
    expires_at: toIsoText(quote.expiresAt),
  };
  let typeUri: string | undefined;
  for (const challenge of challenges) {
    headers.push(...challenge.headers);
    Object.assign(members, challenge.body);
    typeUri ??= challenge.problemType;
  }
  return new Problem('payment-required', {
    detail: refusal?.detail ?? `${quote.resource.description} costs ${formatDollars(quote.amount)}.`,
    isUncharged: true,
    headers,
    members: Object.assign(members, further),
    typeUri,
  });
}

/**
 * The wires in the order their challenges are read: some clients look at the first only. Whoever says or shows
 * which one it speaks finds that one there.
 */
function orderWires(wires: readonly Wire[], carried: Carried, refusal: Refusal | undefined): readonly Wire[] {
  const spoken = wires.find(
    (wire) => wire.wants?.(carried) !== undefined || (refusal !== undefined && wire.name === refusal.wire),
  );
  return spoken ? [spoken, ...wires.filter((wire) => wire !== spoken)] : wires;
}

/** Asks every rail that the caller can pay by: an offer may have to be minted. */
function listOffers(
  deps: DemandDeps,
  carried: Carried,
  quote: Quote,
  signal: AbortSignal,
): Offer[] | Promise<Offer[]> {
  const wanted = findWanted(deps.wires, carried);
  const input = { quote, address: carried.address };
  return wanted ? askWanted(deps, wanted, input, signal) : askRails(deps.rails, input, signal);
}

async function askWanted(
  deps: DemandDeps,
  wanted: ReadonlySet<RailName>,
  input: OfferInput,
  signal: AbortSignal,
): Promise<Offer[]> {
  const offers = await askRails(
    deps.rails.filter(({ name }) => wanted.has(name)),
    input,
    signal,
  );
  if (offers.length > 0) return offers;
  // Nothing of what it can pay by: then it is told what there is.
  return askRails(
    deps.rails.filter(({ name }) => !wanted.has(name)),
    input,
    signal,
  );
}

function findWanted(wires: readonly Wire[], carried: Carried): ReadonlySet<RailName> | undefined {
  for (const wire of wires) {
    const rails = wire.wants?.(carried);
    if (rails) return rails;
  }
  return undefined;
}

/** Most rails know without asking anybody: nothing is awaited then. */
function askRails(
  rails: readonly Rail[],
  input: OfferInput,
  signal: AbortSignal,
): Offer[] | Promise<Offer[]> {
  const answers = rails.map((rail) => rail.offer(input, signal));
  const isKnown = answers.every((answer): answer is Offer[] => Array.isArray(answer));
  return isKnown ? join(answers) : Promise.all(answers).then(join);
}

function join(answers: readonly Offer[][]): Offer[] {
  const offers: Offer[] = [];
  for (const answer of answers) offers.push(...answer);
  return offers;
}

/**
 * A payment by invoice comes before its request is sent again, so what was asked for is kept beside it. What
 * is too large to keep cannot be paid that way.
 */
async function keepOrder(
  deps: DemandDeps,
  input: { order: Order; quote: Quote; quoteToken: string },
  offers: Offer[],
): Promise<Offer[]> {
  const { order, quote, quoteToken } = input;
  const body = JSON.stringify({ quoteToken, order });
  const isKept = await deps.pending.store({
    ...{ quoteHash: hashQuoteId(quote), body, expiresAt: quote.expiresAt },
  });
  return isKept ? offers : offers.filter(({ kind }) => kind !== 'bolt11');
}

/** No rail offers this: too small an amount to be worth moving by itself, or every rail is down. */
async function explainNoOffer(
  deps: DemandDeps,
  demand: Demand,
  signal: AbortSignal,
  error: string | undefined,
): Promise<Problem> {
  const key = deps.quotes.issue({ ...demand, purpose: 'signup', amount: deps.settings.signupPrice });
  const offers = await listOffers(deps, demand.carried, key, signal);
  if (offers.length === 0 || demand.amount >= deps.settings.signupPrice) {
    return new Problem('unavailable', {
      detail: 'No payment rail can take a payment right now. Try again shortly.',
      retryAfterSeconds: 10,
      isUncharged: true,
    });
  }
  return new Problem('payment-required', {
    detail: `${error ? `${error} ` : ''}${formatDollars(demand.amount)} is too little for any rail to move by itself: buy a key, which pays for small calls.`,
    isUncharged: true,
    members: {
      amount_mcents: toWireNumber(demand.amount),
      signup_url: `${deps.settings.publicUrl}/v1/signup`,
    },
  });
}

/** The first credential any wire finds in what a request carries; a broken one is told so with a new 402. */
export function readCredential(
  deps: DemandDeps,
  carried: Carried,
  demand: () => Demand,
): Credential | undefined | Promise<never> {
  for (const wire of deps.wires) {
    const reading = wire.read(carried);
    if (reading?.kind === 'credential') return reading.credential;
    if (reading?.kind === 'malformed') {
      const { reason, code } = reading;
      return demandAgain(deps, demand(), { detail: reason, code, wire: wire.name });
    }
  }
  return undefined;
}

async function demandAgain(deps: DemandDeps, demand: Demand, refusal: Refusal): Promise<never> {
  throw await demandPayment(deps, demand, refusal);
}

/** The same, where there is nothing to sell: what cannot be read is none. */
export function findCredential(deps: Pick<DemandDeps, 'wires'>, carried: Carried): Credential | undefined {
  for (const wire of deps.wires) {
    const reading = wire.read(carried);
    if (reading?.kind === 'credential') return reading.credential;
  }
  return undefined;
}

/** The rail that takes this kind of form. */
export function railOf(
  deps: { rails: readonly Rail[] },
  credential: Pick<Credential, 'form'>,
): Rail | undefined {
  return deps.rails.find((rail) => rail.forms.includes(credential.form.kind));
}
