import { sha256Hex } from '../core/bytes.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { newUuid, type Uuid, uuidFrom } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { type Millicents, millicents } from '../core/money.ts';
import { Problem } from '../core/problem.ts';
import { type Queryable, withTransaction } from '../db/index.ts';
import { newKeyText, type Principal, type Scope, takeFromWindow } from '../keys/index.ts';
import type { Carried, Claim, Credential } from '../payments/index.ts';
import { PLATFORM_PUBLISHER } from './built-in.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { guardAnswer } from './guard-claim.ts';
import { type Purchase, purchase } from './purchase.ts';

const HOUR_MS = 60 * 60 * 1000;

/** A key as it is shown, once. */
export type IssuedKey = {
  keyText: string;
  balance: bigint;
  scopes: readonly string[];
  publisherId: Uuid | undefined;
};

/** How a purchase is paid, and who waits for it: see `Buying`. */
type Payment = { carried: Carried; credential: Credential; client: AbortSignal };

export type SignUpInput = { role: 'agent' | 'publisher'; label: string | undefined };

/** What signing up costs; the challenge for it and the purchase of it name the same request. */
export function signUpDemand(
  deps: Pick<GatewayDeps, 'settings'>,
  input: SignUpInput,
  carried: Carried,
): Demand {
  return {
    purpose: 'signup',
    amount: deps.settings.signupPrice,
    requestDigest: sha256Hex('signup', canonicalJson(input)),
    resource: {
      url: `${deps.settings.publicUrl}/v1/signup`,
      description: 'A bearer key with prepaid balance',
    },
    runTimeoutMs: 0,
    carried,
    order: { kind: 'signup', role: input.role, ...(input.label === undefined ? {} : { label: input.label }) },
  };
}

/** What a signup opens: decided by its payment, so that a retry decides the same. */
export function signUpPurchase(
  deps: Pick<GatewayDeps, 'settings'>,
  input: SignUpInput,
  claimKey: string,
): Purchase {
  const isPublisher = input.role === 'publisher';
  const scopes: Scope[] = ['example', 'invoke', ...(isPublisher ? (['publish'] as const) : [])];
  return {
    accountId: uuidFrom('account', claimKey),
    payeeId: PLATFORM_PUBLISHER,
    limit: (tx) => takeWindow(tx, 'signup', deps.settings.signupsPerHour),
    context: {
      purpose: 'signup',
      scopes,
      // On top of what is paid: a quote of before a change of the price still buys its own sum.
      bonusMcents: (deps.settings.signupCredit - deps.settings.signupPrice).toString(),
      ...(isPublisher ? { publisherId: uuidFrom('publisher', claimKey) } : {}),
      ...(input.label === undefined ? {} : { label: input.label }),
    },
  };
}

/** Sells a new key. Publishers get the scope and an identity of their own with it. */
export async function signUp(
  deps: GatewayDeps,
  input: SignUpInput,
  payment: Payment,
): Promise<{ key: IssuedKey; claim: Claim }> {
  const demand = signUpDemand(deps, input, payment.carried);
  const decide = (claimKey: string) => signUpPurchase(deps, input, claimKey);
  const answer = await purchase(deps, demand, payment.credential, { decide, client: payment.client });
  invariant(answer.purpose === 'signup', `claim ${answer.claim.id} is not a signup`);
  const { claim, keyText } = answer;
  const balance = await guardAnswer(deps, claim, () => balanceOf(deps, claim.accountId));
  const publisherId = input.role === 'publisher' ? uuidFrom('publisher', claim.claimKey) : undefined;
  return { key: { keyText, balance, scopes: answer.scopes, publisherId }, claim };
}

export function topUpDemand(
  deps: Pick<GatewayDeps, 'settings'>,
  account: Pick<Principal, 'accountId'>,
  amount: Millicents,
  carried: Carried,
): Demand {
  return {
    purpose: 'topup',
    amount,
    requestDigest: sha256Hex('topup', account.accountId, amount.toString()),
    resource: { url: `${deps.settings.publicUrl}/v1/topup`, description: 'More balance on a bearer key' },
    runTimeoutMs: 0,
    carried,
    order: { kind: 'topup', accountId: account.accountId },
  };
}

export function topUpPurchase({ accountId }: Pick<Principal, 'accountId'>): Purchase {
  return { accountId, payeeId: PLATFORM_PUBLISHER, context: { purpose: 'topup' } };
}

/** Adds what was paid to the account of a key. */
export async function topUp(
  deps: GatewayDeps,
  principal: Principal,
  amount: Millicents,
  payment: Payment,
): Promise<{ balance: bigint; claim: Claim }> {
  const demand = topUpDemand(deps, principal, amount, payment.carried);
  const decide = () => topUpPurchase(principal);
  const { claim } = await purchase(deps, demand, payment.credential, { decide, client: payment.client });
  const balance = await guardAnswer(deps, claim, () => balanceOf(deps, principal.accountId));
  return { balance, claim };
}

/** Makes a key by the operator's hand, with promotional balance. */
export async function mintKey(
  deps: GatewayDeps,
  input: { balance: Millicents; scopes: readonly Scope[]; label: string | undefined },
): Promise<IssuedKey> {
  await takeWindow(deps.sql, 'admin-mint', deps.settings.mintsPerHour);
  const keyText = newKeyText();
  const accountId = newUuid();
  const publisherId = input.scopes.some((scope) => scope === 'publish' || scope === 'all')
    ? newUuid()
    : undefined;
  await withTransaction(deps.sql, async (tx) => {
    await deps.ledger.openPayer(tx, accountId);
    if (publisherId) await deps.ledger.openPublisher(tx, publisherId);
    if (input.balance > 0n)
      await deps.ledger.promote(tx, { id: newUuid(), accountId, amount: input.balance });
    await deps.keys.issue(tx, { keyText, accountId, publisherId, scopes: input.scopes, label: input.label });
  });
  return { keyText, balance: input.balance, scopes: input.scopes, publisherId };
}

/** What an account can still spend. */
export async function balanceOf(deps: Pick<GatewayDeps, 'ledger'>, accountId: Uuid): Promise<Millicents> {
  const payer = await deps.ledger.balance(accountId);
  return millicents(payer ? payer.balance - payer.held : 0n);
}

async function takeWindow(sql: Queryable, name: string, max: number): Promise<void> {
  const take = await takeFromWindow(sql, { name, max, windowMs: HOUR_MS });
  if (take.kind === 'taken') return;
  throw new Problem('too-many-requests', {
    detail: `This gateway makes at most ${max} keys an hour this way.`,
    retryAfterSeconds: take.retryAfterSeconds,
    isUncharged: true,
  });
}
