import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { hasScope, type Principal } from '../keys/index.ts';
import type { Carried, Claim } from '../payments/index.ts';
import { balanceOf } from './account.ts';
import { callWithCredential } from './call-with-credential.ts';
import { callWithIdempotencyKey, callWithKey } from './call-with-key.ts';
import { demandPayment, readCredential } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { toProblem } from './failure.ts';
import { guardClaim } from './guard-claim.ts';
import { runSale } from './run-sale.ts';
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
  /** Present when a credential paid: its answer has to be watched until it is delivered. */
  claim: Claim | undefined;
};

/**
 * One paid call, whatever pays it: a free tool runs, a credential pays before a key does, a key pays from its
 * balance, and with none of them the answer is a 402. Throws a `Problem` for everything but a delivered call.
 */
export async function paidCall(
  deps: GatewayDeps,
  input: PaidCallInput,
  client: () => AbortSignal,
): Promise<PaidCallAnswer> {
  const { sale, principal } = input;
  if (principal && !hasScope(principal, sale.scope)) {
    throw new Problem('forbidden', {
      detail: `The key does not have the scope "${sale.scope}".`,
      isUncharged: true,
    });
  }
  if (sale.price === 0n) return runFree(deps, sale);
  // Most calls are paid by a key and need neither the demand nor a signal: what is not needed is not made.
  const credential = await readCredential(deps, input.carried, () => toDemand(sale, input.carried));
  if (credential) {
    const { claim, result } = await callWithCredential(deps, input, credential, client());
    return guardClaim(deps, toDemand(sale, input.carried), claim.id, async () => ({
      result,
      charged: claim.amount,
      receiptId: claim.id,
      receipt: await inlineReceipt(deps, claim.id),
      balance: principal && (await balanceOf(deps, principal.accountId)),
      claim,
    }));
  }
  if (!principal) throw await demandPayment(deps, toDemand(sale, input.carried));
  const { result, receiptId, charged, balance } =
    input.idempotencyKey === undefined
      ? await callWithKey(deps, input, principal)
      : await callWithIdempotencyKey(deps, input, principal, input.idempotencyKey);
  const receipt = input.wantsReceipt && receiptId ? await inlineReceipt(deps, receiptId) : undefined;
  return { result, charged, receiptId, receipt, balance, claim: undefined };
}

async function runFree(deps: GatewayDeps, sale: Sale): Promise<PaidCallAnswer> {
  const outcome = await deps.freeCalls.run(() => runSale(deps, sale));
  if (outcome.kind === 'failed') {
    const { problem, detail } = toProblem(outcome);
    throw new Problem(problem, { detail, isUncharged: true });
  }
  const none = { receiptId: undefined, receipt: undefined, balance: undefined, claim: undefined };
  return { result: outcome.result, charged: 0n, ...none };
}

async function inlineReceipt(deps: GatewayDeps, id: Uuid): Promise<string | undefined> {
  return (await deps.receipts.getReceipt(id))?.jws;
}
