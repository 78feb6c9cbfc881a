import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { hasScope, mayCall, type Principal } from '../keys/index.ts';
import type { Carried, Claim } from '../payments/index.ts';
import { callFreeTool, callUnderAllowance, type FreeAnswer, hasAllowance } from './allowance.ts';
import { doubtWhileLost } from './answer-claim.ts';
import { callWithCredential } from './call-with-credential.ts';
import { callWithIdempotencyKey, callWithKey, type KeyAnswer } from './call-with-key.ts';
import { spendableBy } from './child-keys.ts';
import { demandPayment, readCredential } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { guardAnswer } from './guard-claim.ts';
import type { CredentialAnswer } from './run-claim.ts';
import { type Sale, toDemand } from './sale.ts';

export type PaidCallInput = {
  sale: Sale;
  /** The bearer key's owner, when one was shown. */
  principal: Principal | undefined;
  carried: Carried;
  idempotencyKey: string | undefined;
  /** The receipt goes inline although a key paid. */
  wantsReceipt: boolean;
};

/** A delivered call. */
export type PaidCallAnswer = {
  result: unknown;
  charged: bigint;
  receiptId: Uuid | undefined;
  /** The receipt as a compact JWS. */
  receipt: string | undefined;
  balance: bigint | undefined;
  /** How many more the account has for nothing, after a call that cost nothing for that reason. */
  freeCallsLeft?: number | undefined;
  /** Present when a credential paid: its answer has to be watched until it is delivered. */
  claim: Claim | undefined;
};

/**
 * One paid call, whatever pays it: a free tool runs, a credential pays before a key does, a key pays from its
 * balance. With none of them it returns the `Problem` that asks for a payment, which is what most strangers come
 * for; it throws one for everything else but a delivered call.
 */
export async function paidCall(
  deps: GatewayDeps,
  input: PaidCallInput,
  client: () => AbortSignal,
): Promise<PaidCallAnswer | Problem> {
  const { sale, principal } = input;
  if (principal) refuseUnauthorised(principal, sale);
  if (sale.price === 0n) {
    const { address } = input.carried;
    return toFreeAnswer(await callFreeTool(deps, sale, { principal, address }));
  }
  // Most calls are paid by a key and need neither the demand nor a signal: what is not needed is not made.
  const reading = readCredential(deps, input.carried, () => toDemand(sale, input.carried));
  const credential = reading instanceof Promise ? await reading : reading;
  if (credential) {
    const answer = await callWithCredential(deps, input, credential, client());
    return guardAnswer(deps, answer.claim, () => tellCredentialPaid(deps, principal, answer));
  }
  if (!principal) return demandPayment(deps, toDemand(sale, input.carried));
  if (input.idempotencyKey === undefined && hasAllowance(sale)) {
    const free = await callUnderAllowance(deps, sale, principal);
    if (free) return toFreeAnswer(free);
  }
  const answer =
    input.idempotencyKey === undefined
      ? await callWithKey(deps, input, principal)
      : await callWithIdempotencyKey(deps, input, principal, input.idempotencyKey);
  return tellKeyPaid(deps, input, answer);
}

/**
 * The same for a call that nothing but its key can pay: its request carries no credential and has no
 * `Idempotency-Key`, and its tool is neither free nor under an allowance.
 */
export function callPaidByKey(
  deps: GatewayDeps,
  wanted: Pick<PaidCallInput, 'sale' | 'carried'>,
  principal: Principal,
): Promise<KeyAnswer> {
  refuseUnauthorised(principal, wanted.sale);
  return callWithKey(deps, wanted, principal);
}

/** Whether a call of it is always paid, or refused. */
export function isAlwaysPaid(sale: Sale): boolean {
  return sale.price > 0n && !hasAllowance(sale);
}

/** What a call that a credential paid is answered with. */
export async function tellCredentialPaid(
  deps: GatewayDeps,
  principal: Principal | undefined,
  { claim, result }: CredentialAnswer,
): Promise<PaidCallAnswer> {
  return {
    result,
    charged: claim.amount,
    receiptId: claim.id,
    receipt: await inlineReceipt(deps, claim.id),
    balance: principal && (await spendableBy(deps, principal)),
    claim,
  };
}

/** What a call that a key paid is answered with; nothing has to be waited for unless it wants its receipt. */
export function tellKeyPaid(
  deps: GatewayDeps,
  { wantsReceipt }: Pick<PaidCallInput, 'wantsReceipt'>,
  answer: KeyAnswer,
): PaidCallAnswer | Promise<PaidCallAnswer> {
  const { receiptId } = answer;
  if (!wantsReceipt || receiptId === undefined) return toKeyPaid(answer, undefined);
  const tell = async () => toKeyPaid(answer, await inlineReceipt(deps, receiptId));
  return doubtWhileLost(receiptId, tell);
}

/** Without a spread, which costs more here than the rest of the answer. */
function toKeyPaid(answer: KeyAnswer, receipt: string | undefined): PaidCallAnswer {
  const { result, charged, receiptId, balance, freeCallsLeft } = answer;
  return { result, charged, receiptId, receipt, balance, freeCallsLeft, claim: undefined };
}

/** What the key's owner did not allow it, whoever pays: a credential pays, and the key authorises (rule 13). */
function refuseUnauthorised(principal: Principal, sale: Sale): void {
  if (!hasScope(principal, sale.scope)) {
    throw new Problem('forbidden', {
      detail: `The key does not have the scope "${sale.scope}".`,
      isUncharged: true,
    });
  }
  if (mayCall(principal, sale.request)) return;
  throw new Problem('forbidden', {
    detail: `The key may not call ${sale.request.tool} of ${sale.request.server}: its list of tools does not name it.`,
    isUncharged: true,
  });
}

function toFreeAnswer({ result, freeCallsLeft }: FreeAnswer): PaidCallAnswer {
  const none = { receiptId: undefined, receipt: undefined, balance: undefined, claim: undefined };
  return { result, charged: 0n, freeCallsLeft, ...none };
}

async function inlineReceipt(deps: GatewayDeps, id: Uuid): Promise<string | undefined> {
  return (await deps.receipts.getReceipt(id))?.jws;
}
