import { sha256Hex } from '../../../src/core/bytes.ts';
import { canonicalJson } from '../../../src/core/canonical-json.ts';
import { type AccountPlan, type CapsPlan, isWithin } from '../plan/accounts.ts';
import { delivers } from '../plan/calls.ts';
import type { CallPlan } from '../plan/plan.ts';
import type { Verdict } from './verdict.ts';

/** A key as its owner knows it. */
export type KeyState = {
  text: string;
  id: string;
  caps: CapsPlan | undefined;
  /** The secret before the last rotation, and when that was answered. */
  former: { text: string; replacedAt: number } | undefined;
  /** When somebody first asked for its end, and when that was first answered. */
  revokeAskedAt: number | undefined;
  revokedAt: number | undefined;
};

export type AccountState = {
  plan: AccountPlan;
  id: string;
  key: KeyState;
  children: KeyState[];
  /** What payments on rails have put on it, in millicents. */
  toppedUp: number;
};

/** What names a call to everybody: what receipts bind. */
export type CallRequest = { server: string; tool: string; arguments: Record<string, unknown> };

/** One call that somebody wanted, everything that was said about it, and so what it may have cost. */
export type CallState = {
  plan: CallPlan;
  account: AccountState;
  key: KeyState;
  request: CallRequest;
  price: number;
  firstSentAt: number;
  /** Every answer, or what came instead of one, in the order in which it came. */
  verdicts: Verdict[];
  /** Its secret had been replaced, and that answered, before it was sent. */
  wasReplaced: boolean;
};

/** What the client of a call knows: `either` where no answer told, and no later one does. */
export type Outcome = { kind: 'charged'; receiptId: string } | { kind: 'free' } | { kind: 'either' };

/** The storm as its clients saw it. */
export type Model = { accounts: AccountState[]; calls: Map<string, CallState> };

/** The child of this number and all below it. */
export function listWithin({ plan, children }: AccountState, child: number): KeyState[] {
  return children.filter((_, index) => isWithin(plan.children, index, child));
}

export function hashOfRequest(request: CallRequest): string {
  return sha256Hex(canonicalJson(request));
}

/**
 * What a call came to, from its answers alone. One without an `Idempotency-Key` is sent once, so its one answer
 * decides. With one, only what is answered in the end does: a refusal of one copy says nothing about the others.
 */
export function outcomeOf(call: CallState): Outcome {
  for (const verdict of call.verdicts) {
    if (verdict.kind === 'charged') return { kind: 'charged', receiptId: verdict.receiptId };
  }
  if (!delivers(call.plan.mood)) return { kind: 'free' };
  const last = call.verdicts.at(-1);
  const isSaid = last?.kind === 'free' && !(last.isAboutKey && call.plan.idempotencyKey !== undefined);
  return isSaid ? { kind: 'free' } : { kind: 'either' };
}

/** The one result that a call of this mood has; undefined where each run has its own. */
export function expectedResult(call: CallState): unknown {
  const { plan } = call;
  if (plan.tool === 'example') return { message: 'Hello agent: this call was paid for and delivered.' };
  return plan.mood === 'well' ? { label: plan.label } : undefined;
}
