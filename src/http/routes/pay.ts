import { Hono } from 'hono';
import { takeRandomText } from '../../core/bytes.ts';
import { type Uuid, uuidFrom } from '../../core/ids.ts';
import { type Millicents, millicents } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import {
  createPaymentPages,
  demandPayment,
  findCheckoutKey,
  openCheckout,
  openKeyCheckout,
  type PageSubject,
  readCredential,
  signUp,
  signUpDemand,
  topUpDemand,
} from '../../gateway/index.ts';
import type { Carried } from '../../payments/index.ts';
import { callerAddress } from '../address.ts';
import { clientSignal, watchDelivery } from '../answer.ts';
import { BODY_BYTES_MAX } from '../body.ts';
import { readContent } from '../content.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { readAuthParams } from '../mcp/dialects/authorization.ts';
import { answerPage, html } from './pay-page.ts';
import { type Invoice, showCheckout, showInvoice, showKey, showOffer, type Ways } from './pay-texts.ts';

/** The page, and what its address says under seal. */
type Visit = { subject: PageSubject; address: string };

const SIGN_UP = { role: 'agent', label: undefined } as const;
const DOLLAR = 100_000n;
const SUGGESTED = [DOLLAR, 5n * DOLLAR, 20n * DOLLAR];
const BUYER_BYTES = 16;
const BUYER = /^[A-Za-z0-9_-]{1,64}$/;
const SESSION = /^cs_[A-Za-z0-9_]{1,250}$/;
const LOOK_AGAIN_SECONDS = 3;

/**
 * The page on which a person pays for what their agent asked (MCP, elicitation by URL). Whoever opens it is
 * nobody in particular: it fills the key that asked, or sells a new one, and tells nothing about either.
 */
export function payRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  const pages = createPaymentPages({ secrets: deps.keySecrets, clock: deps.clock });
  const visit = (answer: (c: Ctx, visit: Visit) => Response | Promise<Response>) => async (c: Ctx) => {
    const token = c.req.param('token') ?? '';
    const subject = pages.openPage(token);
    if (!subject) return answerGone();
    const address = `${deps.settings.publicUrl}/pay/${token}`;
    try {
      return await answer(c, { subject, address });
    } catch (cause) {
      if (cause instanceof Problem) return answerRefusal(cause, address);
      throw cause;
    }
  };
  app.get(
    '/pay/:token',
    visit((_, visited) => answerOffer(deps, visited)),
  );
  app.post(
    '/pay/:token/card',
    visit((c, visited) => postCard(deps, c, visited)),
  );
  app.get(
    '/pay/:token/paid',
    visit((c, visited) => answerReturn(deps, c, visited)),
  );
  app.post(
    '/pay/:token/lightning',
    visit((c, visited) => postLightning(deps, c, visited)),
  );
  app.post(
    '/pay/:token/lightning/key',
    visit((c, visited) => postPreimage(deps, c, visited)),
  );
  return app;
}

function answerOffer(deps: HttpDeps, { subject, address }: Visit): Response {
  const { signupPrice } = deps.settings;
  const input = { ways: waysOf(deps), amounts: suggest(deps, subject), keyPrice: signupPrice, address };
  return answerPage({
    title: `Pay for a call of ${subject.tool}`,
    main: showOffer(subject, input),
  });
}

function waysOf(deps: HttpDeps): Ways {
  return {
    card: deps.checkout !== undefined,
    lightning: deps.rails.some(({ name }) => name === 'lightning'),
  };
}

/** Sums that cover the call, and are worth a payment of their own. */
function suggest({ settings }: HttpDeps, { amount }: PageSubject): Millicents[] {
  const least = ((amount + DOLLAR - 1n) / DOLLAR) * DOLLAR;
  const sums = SUGGESTED.filter((sum) => sum > least && sum <= settings.topUpMax);
  return [...new Set([least, ...sums])].map(millicents);
}

/**
 * Whose balance is filled: of the key that asked, or of one that is sold to this buyer alone. Whoever has the page's
 * address may buy on it, and must not share an account with who else does.
 */
function accountOf({ subject, address }: Visit, buyer: string): Uuid {
  return subject.accountId ?? uuidFrom('payment-page', address, buyer);
}

async function postCard(deps: HttpDeps, c: Ctx, visit: Visit): Promise<Response> {
  const { subject, address } = visit;
  const { checkout } = deps;
  if (!checkout) throw new Problem('not-found', { detail: 'Cards are not taken here.' });
  const amount = await readAmount(deps, c, subject);
  const buyer = takeRandomText(BUYER_BYTES);
  const accountId = accountOf(visit, buyer);
  // The provider puts the id of its session in there.
  const paidUrl = `${address}/paid?buyer=${buyer}&session={CHECKOUT_SESSION_ID}`;
  const back = { paidUrl, leftUrl: address };
  const paid = { accountId, amount, address: callerAddress(deps, c) };
  const { checkoutUrl } =
    subject.accountId === undefined
      ? await openKeyCheckout({ ...deps, checkout }, paid, back)
      : await openCheckout({ ...deps, checkout }, { accountId }, amount, back);
  return answerPage({ title: 'Pay by card', main: showCheckout({ checkoutUrl, amount, address }) });
}

async function answerReturn(deps: HttpDeps, c: Ctx, visit: Visit): Promise<Response> {
  const { subject, address } = visit;
  const { session = '', buyer = '' } = c.req.query();
  const isRead = SESSION.test(session) && BUYER.test(buyer);
  const found = isRead
    ? await findCheckoutKey(deps, { session, accountId: accountOf(visit, buyer) })
    : { kind: 'none' as const };
  switch (found.kind) {
    case 'issued':
      return answerKey(deps, subject, found);
    case 'waiting':
      return answerPage({
        title: 'The payment is being checked',
        main: html`<p role="status">This page looks again by itself every few seconds.</p>`,
        refreshSeconds: LOOK_AGAIN_SECONDS,
      });
    case 'filled':
      return answerPage({
        title: 'The key is filled',
        main: html`<p>Go back to your client and make the call again.</p>`,
      });
    case 'none':
      return answerRefusal(new Problem('not-found', { detail: 'No payment was found.' }), address);
    default:
      throw found satisfies never;
  }
}

async function postLightning(deps: HttpDeps, c: Ctx, { subject, address }: Visit): Promise<Response> {
  const carried = carryWish(deps, c, { 'accept-payment': 'lightning/charge' });
  const { accountId } = subject;
  const demand =
    accountId === undefined
      ? signUpDemand(deps, SIGN_UP, carried)
      : topUpDemand(deps, { accountId }, await readAmount(deps, c, subject), carried);
  const invoice = findInvoice(await demandPayment(deps, demand));
  if (!invoice) {
    throw new Problem('unavailable', { detail: 'No invoice can be made right now. Try again in a minute.' });
  }
  const main = showInvoice(subject, { ...invoice, amount: demand.amount, address });
  return answerPage({ title: 'Pay by Lightning', main });
}

/** The invoice, out of the L402 challenge of the 402. */
function findInvoice({ options: { headers = [] } }: Problem): Invoice | undefined {
  for (const [name, value] of headers) {
    if (name.toLowerCase() !== 'www-authenticate') continue;
    const { invoice, token } = readAuthParams(value, 'l402') ?? {};
    if (invoice !== undefined && token !== undefined) return { invoice, token };
  }
  return undefined;
}

async function postPreimage(deps: HttpDeps, c: Ctx, { subject }: Visit): Promise<Response> {
  const form = await readForm(c);
  const [token = '', preimage = ''] = [form.get('token') ?? '', form.get('preimage')?.trim() ?? ''];
  if (subject.accountId !== undefined || !/^[0-9a-fA-F]{64}$/.test(preimage)) {
    throw new Problem('malformed-request', { detail: 'A preimage is 64 hexadecimal characters.' });
  }
  const carried = carryWish(deps, c, { authorization: `L402 ${token}:${preimage}` });
  const demand = signUpDemand(deps, SIGN_UP, carried);
  const credential = await readCredential(deps, carried, () => demand);
  if (!credential) throw new Problem('malformed-request', { detail: 'That is no proof of a payment.' });
  const { key, claim } = await signUp(deps, SIGN_UP, { carried, credential, client: clientSignal(c) });
  watchDelivery(deps, c, claim);
  return answerKey(deps, subject, key);
}

function answerKey(
  { settings: { publicUrl } }: HttpDeps,
  { server }: PageSubject,
  { keyText, balance }: { keyText: string; balance: bigint },
): Response {
  return answerPage({ title: 'Your key', main: showKey({ keyText, balance, server, publicUrl }) });
}

/** A form has no headers of ours: what it stands for is put in their place. */
function carryWish(deps: HttpDeps, c: Ctx, headers: Record<string, string>): Carried {
  return {
    method: 'POST',
    address: callerAddress(deps, c),
    header: (name) => headers[name.toLowerCase()],
  };
}

async function readAmount(deps: HttpDeps, c: Ctx, subject: PageSubject): Promise<Millicents> {
  const given = (await readForm(c)).get('amount_mcents') ?? '';
  const amount = suggest(deps, subject).find((sum) => sum.toString() === given);
  if (amount !== undefined) return amount;
  throw new Problem('malformed-request', { detail: 'Choose one of the sums on the page.' });
}

async function readForm(c: Ctx): Promise<URLSearchParams> {
  const content = await readContent(c, BODY_BYTES_MAX.key);
  return new URLSearchParams(Buffer.from(content).toString('utf8'));
}

function answerGone(): Response {
  return answerPage({
    title: 'This page is no longer valid',
    main: html`<p>Payment pages last an hour. Make the call again in your client: it is given a new one.</p>`,
    status: 404,
  });
}

function answerRefusal({ title, status, options: { detail } }: Problem, address: string): Response {
  // A challenge means nothing to a browser.
  const shown = status === 402 ? 400 : status;
  return answerPage({
    title,
    main: html`<p>${detail}</p><p><a href="${address}">Back</a></p>`,
    status: shown,
  });
}
