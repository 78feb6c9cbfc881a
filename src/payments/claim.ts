import { z } from 'zod';
import { type Uuid, uuidFrom } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import { PROBLEMS, type ProblemType } from '../core/problem.ts';
import { formSchema, toFormJson } from './form.ts';
import type { Purpose } from './quote.ts';
import type { Authorization, RailName, SettlementIntent } from './rail.ts';
import type { WireName } from './wire.ts';

/**
 * Where a claim stands. `running`: the paid work may be under way. `settling`: money may be moving; only a
 * settlement ends it. `delivered` and `failed` are final.
 */
export type ClaimState = 'running' | 'settling' | 'delivered' | 'failed';
export type AnswerState = 'waiting' | 'lost' | 'answered';
export type ClaimMode = 'after-run' | 'before-run';

/** What a failed claim tells its caller again and again. Public, at most 512 bytes of detail. */
export type Failure = { problem: ProblemType; detail: string };

export type NewClaim = {
  claimKey: string;
  purpose: Purpose;
  rail: RailName | null;
  wire: WireName | null;
  payer: string;
  accountId: Uuid;
  amount: Millicents;
  requestDigest: string;
  quoteHash: Buffer | null;
  mode: ClaimMode;
  state: 'running' | 'settling';
  /** `lost` when nobody waits for the answer yet: then whoever paid may ask for it. */
  answerState?: 'waiting' | 'lost';
  worker: string;
  context: Record<string, unknown>;
  intent: SettlementIntent | null;
  /** The claim whose answer it is given, and since when that is owed. */
  attachedTo?: Uuid;
  createdAt?: Date;
};

export type Claim = Omit<NewClaim, 'state' | 'amount' | 'answerState' | 'attachedTo'> & {
  id: Uuid;
  attachedTo: Uuid | null;
  /** Whose `answerState` says whether the answer reached who asks now: its own, or that of a payment attached to it. */
  askedBy: Uuid;
  amount: bigint;
  state: ClaimState;
  answerState: AnswerState;
  failure: Failure | null;
  reference: string | null;
  attempts: number;
  createdAt: Date;
  closedAt: Date | null;
  /** When nothing could undo the money any more. */
  finalAt: Date | null;
};

/** The one id of everything that belongs to this payment. */
export function claimIdOf(claimKey: string): Uuid {
  return uuidFrom('claim', claimKey);
}

/** What settling an authorization will take, as the database keeps it. */
export function toIntent(authorization: Authorization): SettlementIntent {
  const { claimKey, payer, unit, units, form, validUntil } = authorization;
  return { claimKey, payer, unit, units, form, validUntil };
}

export function toIntentJson(intent: SettlementIntent): Record<string, unknown> {
  return {
    claimKey: intent.claimKey,
    payer: intent.payer,
    unit: intent.unit,
    units: intent.units.toString(),
    form: toFormJson(intent.form),
    validUntil: intent.validUntil.toISOString(),
  };
}

export const intentSchema = z.object({
  claimKey: z.string(),
  payer: z.string(),
  unit: z.string(),
  units: z.string().transform((digits) => BigInt(digits)),
  form: formSchema,
  validUntil: z.iso.datetime().transform((text) => new Date(text)),
});

const problemTypes = Object.keys(PROBLEMS) as [ProblemType, ...ProblemType[]];
export const failureSchema = z.object({ problem: z.enum(problemTypes), detail: z.string() });
