import type { Hex } from 'viem';
import type { Eip3009Form } from '../../form.ts';
import type { SettlementCost, SettlementIntent } from '../../rail.ts';
import type { TokenLog } from './payment-event.ts';
import type { Token } from './token.ts';

/** A transaction of which we have read the receipt ourselves. */
export type Mined = { hash: Hex; blockNumber: bigint; logs: readonly TokenLog[] };

/** What bringing an authorization to the token came to. Whether it paid is read from the chain. */
export type Attempt =
  /** Nothing is under way any more: it was mined, or never sent because the chain would refuse it. */
  | { kind: 'over'; mined: Mined | undefined; costs: SettlementCost[]; isTooDear: boolean }
  /** It is under way, or may be, and only a receipt tells. */
  | { kind: 'pending'; cause: unknown }
  /** Somebody else was asked and we do not know what they did: what the chain says counts. */
  | { kind: 'unsure'; cause: unknown };

/** Nothing of ours is on the chain, nor on its way there. */
export const NOTHING_SENT: Extract<Attempt, { kind: 'over' }> = {
  kind: 'over',
  mined: undefined,
  costs: [],
  isTooDear: false,
};

/** Whether a mover can do its work; `detail` is for the operator, and empty when there is nothing to tell. */
export type MoverHealth = { canMove: boolean; detail: string };

/** Who brings authorizations to the token: a wallet of ours, or a facilitator. */
export type Mover = {
  /** The wallet whose coin pays for gas, where that is ours. */
  readonly wallet: Hex | undefined;
  /** Asked before the run. False when it will surely not move it; throws when it cannot say. */
  accepts(form: Eip3009Form, token: Token, signal: AbortSignal): Promise<boolean>;
  /** Moves the money or continues to; with the same intent it moves it once. */
  move(intent: SettlementIntent, token: Token, signal: AbortSignal): Promise<Attempt>;
  /** What it knows of an earlier attempt, without waiting; moves nothing. */
  find(intent: SettlementIntent, signal: AbortSignal): Promise<Attempt>;
  /** Throws when it cannot say. */
  checkHealth(signal: AbortSignal): Promise<MoverHealth>;
};
