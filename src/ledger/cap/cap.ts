import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Millicents } from '../../core/money.ts';
import type { Tx } from '../../db/index.ts';
import { type CapRow, lockCaps, updateCap } from './store.ts';

/** What one spender may take out of an account it does not own; what is left out is not limited. */
export type Caps = { perCall?: Millicents; perHour?: Millicents; total?: Millicents };

/** Why a cap lets a call not pass, and what it would let pass. */
export type CapRefusal = {
  /** Whose cap it is. */
  capId: Uuid;
  cap: 'per_call' | 'per_hour' | 'total';
  limit: bigint;
  left: bigint;
  /** When the hour is over, for `per_hour`. */
  resetsAt: Date | undefined;
};

/** A cap and its counters at one moment. */
export type CapUse = {
  id: Uuid;
  perCall: bigint | null;
  perHour: bigint | null;
  total: bigint | null;
  /** Held or taken in this hour. */
  hourSpent: bigint;
  hourEndsAt: Date;
  spent: bigint;
  held: bigint;
};

const HOUR_MS = 60 * 60 * 1000;

/**
 * Counts a call against every one of the caps, or against none. The caller holds the account's lock
 * (MONEY.md, rule 10).
 */
export async function takeFromCaps(
  tx: Tx,
  input: { capIds: readonly Uuid[]; amount: bigint },
): Promise<{ kind: 'taken'; hour: Date } | { kind: 'refused'; refusal: CapRefusal }> {
  const { capIds, amount } = input;
  const { caps, hour } = await lockCaps(tx, capIds);
  invariant(caps.length === capIds.length, `a cap of ${capIds.join(', ')} is missing`);
  const refusal = findRefusal(caps, { amount, hour });
  if (refusal) return { kind: 'refused', refusal };
  for (const cap of caps) {
    const hourSpent = spentInHour(cap, hour) + amount;
    await updateCap(tx, { ...cap, hourStart: hour, hourSpent, held: cap.held + amount });
  }
  return { kind: 'taken', hour };
}

/** Why the caps would let a call not pass; undefined when they would. */
export async function findCapRefusal(
  tx: Tx,
  input: { capIds: readonly Uuid[]; amount: bigint },
): Promise<CapRefusal | undefined> {
  if (input.capIds.length === 0) return undefined;
  const { caps, hour } = await lockCaps(tx, input.capIds);
  return findRefusal(caps, { amount: input.amount, hour });
}

/** Ends what a hold has set aside: taken for good, or back in the hour it came from and in no other. */
export async function closeInCaps(
  tx: Tx,
  hold: { capIds: readonly Uuid[] | null; capHour: Date | null; amount: bigint },
  end: 'captured' | 'given-back',
): Promise<void> {
  const { capIds, capHour, amount } = hold;
  if (!capIds || !capHour || capIds.length === 0) return;
  const { caps } = await lockCaps(tx, capIds);
  invariant(caps.length === capIds.length, `a cap of ${capIds.join(', ')} is missing`);
  for (const cap of caps) {
    const isItsHour = cap.hourStart.getTime() === capHour.getTime();
    const isBack = end === 'given-back';
    await updateCap(tx, {
      ...cap,
      hourSpent: isBack && isItsHour ? cap.hourSpent - amount : cap.hourSpent,
      spent: isBack ? cap.spent : cap.spent + amount,
      held: cap.held - amount,
    });
  }
}

/** The first reason against a call: what will never pass before what passes in the next hour. */
function findRefusal(caps: readonly CapRow[], call: { amount: bigint; hour: Date }): CapRefusal | undefined {
  const { amount, hour } = call;
  for (const name of ['per_call', 'total', 'per_hour'] as const) {
    for (const cap of caps) {
      const { limit, left } = leftOf(cap, name, hour);
      if (limit === null || amount <= left) continue;
      const resetsAt = name === 'per_hour' ? new Date(hour.getTime() + HOUR_MS) : undefined;
      return { capId: cap.id, cap: name, limit, left, resetsAt };
    }
  }
  return undefined;
}

function leftOf(cap: CapRow, name: CapRefusal['cap'], hour: Date): { limit: bigint | null; left: bigint } {
  switch (name) {
    case 'per_call':
      return { limit: cap.perCall, left: cap.perCall ?? 0n };
    case 'per_hour':
      return { limit: cap.perHour, left: (cap.perHour ?? 0n) - spentInHour(cap, hour) };
    case 'total':
      return { limit: cap.total, left: (cap.total ?? 0n) - cap.spent - cap.held };
    default:
      return name satisfies never;
  }
}

function spentInHour(cap: Pick<CapRow, 'hourStart' | 'hourSpent'>, hour: Date): bigint {
  return cap.hourStart.getTime() === hour.getTime() ? cap.hourSpent : 0n;
}

/** What all of the caps together leave; undefined when none of them limits a sum. */
export function leftUnder(uses: readonly CapUse[]): bigint | undefined {
  const rooms = uses.flatMap(({ perHour, total, hourSpent, spent, held }) => [
    ...(perHour === null ? [] : [perHour - hourSpent]),
    ...(total === null ? [] : [total - spent - held]),
  ]);
  return rooms.reduce<bigint | undefined>(
    (least, room) => (least === undefined || room < least ? room : least),
    undefined,
  );
}
