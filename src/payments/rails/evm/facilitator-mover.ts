import { setTimeout as sleep } from 'node:timers/promises';
import type { Hex } from 'viem';
import { readReceipt } from '../../../chain/index.ts';
import type { Log } from '../../../core/log.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import { type Eip3009Form, expectForm } from '../../form.ts';
import type { SettlementIntent } from '../../rail.ts';
import type { Facilitator } from './facilitator.ts';
import { type Attempt, type Mined, type Mover, NOTHING_SENT } from './mover.ts';
import { findPayment } from './payment-event.ts';
import { readStanding, type StandingDeps } from './standing.ts';
import type { Token } from './token.ts';
import { isRefusedByToken } from './trial.ts';

export type FacilitatorMoverDeps = StandingDeps & {
  facilitator: Facilitator;
  log: Log;
  timeouts: {
    /** How long the transaction it names is waited for. */
    receiptMs: number;
    pollMs: number;
  };
};

/**
 * Settles through a facilitator, which pays the gas. Its word is never proof: what it says it settled counts
 * once we have read the payment in that transaction, and what it says it did not settle stays unknown, because
 * its transaction may be under way. Asking it again moves nothing twice: the token takes a nonce once.
 */
export function createFacilitatorMover(deps: FacilitatorMoverDeps): Mover {
  const network = `eip155:${deps.client.chainId}`;
  const { facilitator, log } = deps;
  return {
    wallet: undefined,
    async accepts(form, token, signal) {
      const { isValid, reason } = await facilitator.verify({ form, token }, signal);
      if (!isValid)
        log.warn({ reason, payer: form.from }, 'the facilitator does not take a payment that is good');
      return isValid;
    },
    move: (intent, token, signal) => move(deps, intent, token, signal),
    // It keeps no record that we could trust: the chain is asked instead.
    find: async () => NOTHING_SENT,
    async checkHealth(signal) {
      if (await facilitator.supports(network, signal)) return { canMove: true, detail: '' };
      return {
        canMove: false,
        detail: `the facilitator ${facilitator.origin} does not settle on ${network}`,
      };
    },
  };
}

async function move(
  deps: FacilitatorMoverDeps,
  intent: SettlementIntent,
  token: Token,
  signal: AbortSignal,
): Promise<Attempt> {
  const form = expectForm(intent.form, 'eip3009');
  // It is sent again only while it is unused, and never when the token would refuse it.
  const standing = await readStanding(deps, form, signal);
  if (standing.kind !== 'unused' || standing.balance < form.value) return NOTHING_SENT;
  if (await isRefusedByToken(deps.client, { form, at: {} }, signal)) return NOTHING_SENT;
  try {
    const { transaction, reason } = await deps.facilitator.settle({ form, token }, signal);
    if (transaction === undefined) {
      deps.log.warn({ claimKey: intent.claimKey, reason }, 'the facilitator says it did not settle');
      return { kind: 'unsure', cause: new Error('the facilitator says it did not settle') };
    }
    const mined = await awaitPayment(deps, { hash: transaction, form }, signal);
    if (mined !== undefined) return { ...NOTHING_SENT, mined };
    return { kind: 'unsure', cause: new Error(`${transaction} does not show the payment (yet)`) };
  } catch (cause) {
    return { kind: 'unsure', cause };
  }
}

/** The transaction that the facilitator named, once our own node shows the payment in it. */
async function awaitPayment(
  deps: FacilitatorMoverDeps,
  input: { hash: Hex; form: Eip3009Form },
  signal: AbortSignal,
): Promise<Mined | undefined> {
  const { hash, form } = input;
  const bounded = timeLimit(signal, deps.timeouts.receiptMs);
  for (;;) {
    const receipt = await readReceipt(deps, hash, bounded);
    if (receipt !== undefined) {
      const { outcome } = receipt;
      if (outcome.kind !== 'mined' || findPayment(outcome.logs, form) === undefined) return undefined;
      return { hash, blockNumber: outcome.blockNumber, logs: outcome.logs };
    }
    await sleep(deps.timeouts.pollMs, undefined, { signal: bounded });
  }
}
