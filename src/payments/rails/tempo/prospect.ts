import { BaseError, ContractFunctionZeroDataError, type Hex, parseAbi, zeroAddress } from 'viem';
import { call, readContract } from 'viem/actions';
import { isRevert } from '../../../chain/index.ts';
import { toUnixSeconds } from '../../../core/clock.ts';
import type { TempoRailContext } from './context.ts';
import { readNextNonce } from './standing.ts';
import { tokenAbi } from './token.ts';
import { type SignedTransaction, toLowerHex } from './transaction.ts';

export type Prospect =
  /** It would be mined now; the payer owns this much of the currency beside the fee. */
  | { kind: 'clear'; fundsAvailable: bigint }
  /** Only money is missing. */
  | { kind: 'poor'; reason: string }
  /** It is not its nonce's turn. */
  | { kind: 'untimely'; reason: string }
  | { kind: 'blocked'; reason: string };

/** Whether a transaction would pay if it were sent now. Throws when the chain cannot say. */
export async function readProspect(
  context: TempoRailContext,
  { transaction, units }: { transaction: SignedTransaction; units: bigint },
  signal: AbortSignal,
): Promise<Prospect> {
  const { client, currency } = context;
  const { sender, terms } = transaction;
  const [feeToken, balance, nextNonce, isAccepted, isKeyGood] = await Promise.all([
    readFeeToken(context, transaction, signal),
    readBalance(context, { token: currency, account: sender }, signal),
    readNextNonce(client, { transaction, at: { blockTag: 'latest' } }, signal),
    isAcceptedByToken(context, transaction, signal),
    isAccessKeyGood(context, transaction, signal),
  ]);
  const nonce = terms.nonce ?? 0n;
  if (nextNonce !== undefined && nonce < nextNonce) return { kind: 'untimely', reason: NONCE_USED };
  if (nextNonce !== undefined && nonce > nextNonce) return { kind: 'untimely', reason: NONCE_AHEAD };
  if (!isKeyGood) return { kind: 'blocked', reason: KEY_BAD };
  const fee = feeOf(terms);
  const isOnePurse = feeToken === currency;
  const needed = isOnePurse ? units + fee : units;
  if (balance < needed) {
    return { kind: 'poor', reason: `The payer owns ${balance} token units, this costs ${needed}.` };
  }
  if (!isOnePurse && (await readFeeBalance(context, { token: feeToken, account: sender }, signal)) < fee) {
    return { kind: 'poor', reason: `The payer cannot pay the fee of ${fee} units in the token ${feeToken}.` };
  }
  if (!isAccepted) return { kind: 'blocked', reason: TOKEN_REFUSES };
  return { kind: 'clear', fundsAvailable: isOnePurse ? balance - fee : balance };
}

const NONCE_USED = 'The nonce of the transaction is used: sign another one.';
const NONCE_AHEAD = 'Transactions with lower nonces must be mined first: sign with an expiring nonce.';
const KEY_BAD = 'The key that signed was not lent by the payer, or no longer is.';
const TOKEN_REFUSES = 'The token refuses the transfer.';

/** Gas is priced in dollars with 18 decimals, and charged in tokens with six. */
const FEE_SCALE = 10n ** 12n;

/** What a node wants to see in the purse, in units of the fee token: all the gas at the highest price. */
function feeOf({ gas = 0n, maxFeePerGas = 0n }: SignedTransaction['terms']): bigint {
  return (gas * maxFeePerGas + FEE_SCALE - 1n) / FEE_SCALE;
}

/** The transaction's own choice, else the account's, else the token it calls, which is our currency. */
async function readFeeToken(
  context: TempoRailContext,
  { sender, terms }: SignedTransaction,
  signal: AbortSignal,
): Promise<Hex> {
  if (terms.feeToken !== undefined) return toLowerHex(String(terms.feeToken));
  const chosen = await readContract(context.client.within(signal), {
    ...{ address: FEE_MANAGER, abi: feeAbi, functionName: 'userTokens' },
    args: [sender],
  });
  return chosen === zeroAddress ? context.currency : toLowerHex(chosen);
}

function readBalance(
  context: TempoRailContext,
  { token, account }: { token: Hex; account: Hex },
  signal: AbortSignal,
): Promise<bigint> {
  return readContract(context.client.within(signal), {
    ...{ address: token, abi: tokenAbi, functionName: 'balanceOf' },
    args: [account],
  });
}

/** The payer chooses the fee token, which need not be one: whoever owns none of it cannot pay by it. */
async function readFeeBalance(
  context: TempoRailContext,
  purse: { token: Hex; account: Hex },
  signal: AbortSignal,
): Promise<bigint> {
  try {
    return await readBalance(context, purse, signal);
  } catch (error) {
    if (isRevert(error) || isWithoutAnswer(error)) return 0n;
    throw error;
  }
}

/** Nothing is at the address, or nothing that knows what was asked for. */
function isWithoutAnswer(error: unknown): boolean {
  if (!(error instanceof BaseError)) return false;
  return error.walk((inner) => inner instanceof ContractFunctionZeroDataError) !== null;
}

/** The transfer on trial: a token may be paused, or have a policy against one of the two (TIP-403). */
async function isAcceptedByToken(
  context: TempoRailContext,
  { sender, terms }: SignedTransaction,
  signal: AbortSignal,
): Promise<boolean> {
  const [transfer] = terms.calls;
  try {
    await call(context.client.within(signal), {
      ...{ account: sender, to: context.currency },
      ...(transfer?.data === undefined ? {} : { data: transfer.data }),
    });
    return true;
  } catch (error) {
    if (isRevert(error)) return false;
    throw error;
  }
}

async function isAccessKeyGood(
  context: TempoRailContext,
  { sender, accessKey }: SignedTransaction,
  signal: AbortSignal,
): Promise<boolean> {
  if (accessKey === undefined) return true;
  const key = await readContract(context.client.within(signal), {
    ...{ address: ACCOUNT_KEYCHAIN, abi: keychainAbi, functionName: 'getKey' },
    args: [sender, accessKey.address],
  });
  const now = toUnixSeconds(context.clock.now());
  // A key that the chain has never known is good by the word that comes with it, and by that alone.
  const isKnown = key.isRevoked || key.expiry > 0n;
  if (!isKnown) return (accessKey.grantedUntil ?? 0) > now;
  return !key.isRevoked && key.expiry > BigInt(now);
}

const FEE_MANAGER = '0xfeec000000000000000000000000000000000000';
const feeAbi = parseAbi(['function userTokens(address account) view returns (address)']);
const ACCOUNT_KEYCHAIN = '0xaAAAaaAA00000000000000000000000000000000';
const keychainAbi = parseAbi([
  'struct KeyInfo { uint8 signatureType; address keyId; uint64 expiry; bool enforceLimits; bool isRevoked; }',
  'function getKey(address account, address keyId) view returns (KeyInfo)',
]);
