import type { Hex } from 'viem';
import { call, estimateGas, getCode } from 'viem/actions';
import {
  type ChainClient,
  isRevert,
  readWalletHealth,
  type WriteOutcome,
  type Writer,
} from '../../../chain/index.ts';
import { type Eip3009Form, expectForm } from '../../form.ts';
import type { SettlementCost, SettlementIntent } from '../../rail.ts';
import { claimKeysOf } from './identity.ts';
import { type Attempt, type Mover, type MoverHealth, NOTHING_SENT } from './mover.ts';
import { encodeTransfer } from './token.ts';
import { createTurns } from './turns.ts';

export type WalletMoverDeps = {
  client: ChainClient;
  writer: Writer;
  /** When the wallet pays for fewer settlements than this, the operator is told. */
  settlementsMin: number;
};

/** Estimates are made on the last block; the next one may find storage colder. */
const GAS_HEADROOM_PERCENT = 130n;
/** A transfer by key takes 60,000 to 110,000, by proxy and to a new holder: more of it buys nobody anything. */
const KEY_GAS_MAX = 150_000n;
/** A contract wallet runs code of its payer's choice at our cost: room for passkeys and multisigs, no more. */
const WALLET_GAS_MAX = 400_000n;
/**
 * Settlements of one contract wallet that may cost gas and bring nothing within a day: it can accept in every
 * trial and refuse in every block, and it signs for nothing. Who is beyond this pays from another one.
 */
const REVERTS_MAX = 2n;
const DAY_MS = 24 * 60 * 60 * 1000;
/** As many of one payer are sent at once: none of them knows of the others' failure. */
const SENT_AT_ONCE_MAX = 16;
/** What a settlement takes, headroom included, for the outlook on the wallet. */
const SETTLEMENT_GAS = 110_000n;

/** Settles from a hot wallet of ours, through its one writer. */
export function createWalletMover(deps: WalletMoverDeps): Mover {
  const { writer } = deps;
  const turns = createTurns(SENT_AT_ONCE_MAX);
  return {
    wallet: writer.address,
    // What the token takes from anybody it takes from us.
    accepts: async (form, _token, signal) => !(await hasWastedGas(deps, form, signal)),
    async move(intent, _token, signal) {
      const followed = await writer.follow(intent.claimKey, signal);
      if (followed) return toAttempt(deps, followed);
      const { from } = expectForm(intent.form, 'eip3009');
      return turns.take(from, signal, () => attempt(deps, intent, signal));
    },
    async find(intent, signal) {
      const sent = await writer.find(intent.claimKey, signal);
      // Another one's transaction can settle it while ours is not mined.
      return sent?.kind === 'unknown' ? NOTHING_SENT : toAttempt(deps, sent);
    },
    checkHealth: (signal) => checkHealth(deps, signal),
  };
}

/**
 * Sends the transfer unless the token refuses it in a trial or it burns too much gas. Another gateway may have
 * settled it during the trial, so our own transactions are looked through once more.
 */
async function attempt(
  deps: WalletMoverDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Attempt> {
  const { writer } = deps;
  const form = expectForm(intent.form, 'eip3009');
  const transfer = { to: form.asset, data: encodeTransfer(form) };
  const rpc = deps.client.within(signal);
  try {
    const [gas] = await Promise.all([
      estimateGas(rpc, { ...transfer, account: writer.address }),
      call(rpc, { ...transfer, account: writer.address }),
    ]);
    if (
      (await isTooMuchGas(deps, { gas, payer: form.from }, signal)) ||
      (await hasWastedGas(deps, form, signal))
    ) {
      const sent = await writer.find(intent.claimKey, signal);
      return sent ? toAttempt(deps, sent) : { ...NOTHING_SENT, isTooDear: true };
    }
    const gasLimit = (gas * GAS_HEADROOM_PERCENT) / 100n;
    return toAttempt(deps, await writer.send({ ref: intent.claimKey, ...transfer, gasLimit }, signal));
  } catch (error) {
    if (!isRevert(error)) throw error;
    return toAttempt(deps, await writer.find(intent.claimKey, signal));
  }
}

/** A payer with a key has to spend its money elsewhere to make a transfer fail, and pays for that itself. */
async function hasWastedGas(deps: WalletMoverDeps, form: Eip3009Form, signal: AbortSignal): Promise<boolean> {
  const wasted = { refPrefix: claimKeysOf(form), withinMs: DAY_MS };
  if ((await deps.writer.countReverted(wasted)) < REVERTS_MAX) return false;
  return (await getCode(deps.client.within(signal), { address: form.from })) !== undefined;
}

/** The code at the payer decides, not the signature's shape: wallets take signatures of 65 bytes too. */
async function isTooMuchGas(
  deps: WalletMoverDeps,
  input: { gas: bigint; payer: Hex },
  signal: AbortSignal,
): Promise<boolean> {
  if (input.gas <= KEY_GAS_MAX) return false;
  if (input.gas > WALLET_GAS_MAX) return true;
  return (await getCode(deps.client.within(signal), { address: input.payer })) === undefined;
}

function toAttempt(deps: WalletMoverDeps, sent: WriteOutcome | undefined): Attempt {
  if (sent === undefined) return NOTHING_SENT;
  if (sent.kind === 'unknown') return { kind: 'pending', cause: sent.cause };
  const { hash, blockNumber } = sent;
  const mined = sent.kind === 'mined' ? { hash, blockNumber, logs: sent.logs } : undefined;
  return { kind: 'over', mined, costs: costsOf(deps, sent.feeWei), isTooDear: false };
}

/** Gas is spent on a reverted transaction too. */
function costsOf(deps: WalletMoverDeps, feeWei: bigint): SettlementCost[] {
  const network = `eip155:${deps.client.chainId}`;
  return [
    { account: `A.gas:${network}`, expense: `E.gas:${network}`, unit: `${network}/wei`, units: feeWei },
  ];
}

async function checkHealth(deps: WalletMoverDeps, signal: AbortSignal): Promise<MoverHealth> {
  const { writer, client, settlementsMin } = deps;
  const health = await readWalletHealth(
    client,
    { address: writer.address, gas: SETTLEMENT_GAS, transactionsMin: settlementsMin },
    signal,
  );
  switch (health.kind) {
    case 'ok':
      return { canMove: true, detail: '' };
    case 'low':
      return {
        canMove: true,
        detail: `the wallet ${writer.address} has gas for ${health.transactionsLeft} settlements: fill it`,
      };
    case 'empty':
      return { canMove: false, detail: `the wallet ${writer.address} cannot pay for gas: fill it` };
    default:
      return health.kind satisfies never;
  }
}
