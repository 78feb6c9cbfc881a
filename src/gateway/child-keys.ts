import type { Uuid } from '../core/ids.ts';
import { type Millicents, millicents, toWireNumber } from '../core/money.ts';
import { Problem } from '../core/problem.ts';
import { withTransaction } from '../db/index.ts';
import {
  type ChildToIssue,
  type IssuedChild,
  type ListedKey,
  newKeyText,
  type Principal,
  reachOf,
  takeFromWindow,
} from '../keys/index.ts';
import { type CapRefusal, type Caps, type CapUse, leftUnder } from '../ledger/index.ts';
import { balanceOf } from './account.ts';
import type { GatewayDeps } from './deps.ts';

const HOUR_MS = 60 * 60 * 1000;
/** New keys and new secrets of one account: each leaves a row for good. */
const CHANGES_PER_HOUR = 1_000;

export type ChildInput = Pick<ChildToIssue, 'label' | 'scopes' | 'tools' | 'expiresAt'> & { caps: Caps };

/** A child as its maker sees it, once. */
export type NewChild = IssuedChild & { keyText: string; balance: bigint };

/** Makes a key that spends its parent's account, within the parent's rights and its own caps. */
export async function createChildKey(
  deps: GatewayDeps,
  parent: Principal,
  input: ChildInput,
): Promise<NewChild> {
  await takeChange(deps, parent.accountId);
  const keyText = newKeyText();
  const { caps, ...child } = input;
  const hasCaps = Object.values(caps).some((cap) => cap !== undefined);
  const issued = await withTransaction(deps.sql, async (tx) => {
    const key = await deps.keys.issueChild(tx, parent, { ...child, keyText, hasCaps });
    if (hasCaps) await deps.ledger.openCap(tx, { id: key.id, accountId: parent.accountId }, caps);
    return key;
  });
  const capIds = hasCaps ? [...parent.capIds, issued.id] : parent.capIds;
  return { ...issued, keyText, balance: await spendableBy(deps, { ...parent, capIds }) };
}

/** A new secret for a key within the caller's reach, whose caps, counters and history stay as they are. */
export async function rotateKey(
  deps: GatewayDeps,
  principal: Principal,
  input: { keyId: Uuid; overlapSeconds: number },
): Promise<{ keyText: string; formerValidUntil: Date }> {
  await takeChange(deps, principal.accountId);
  const keyText = newKeyText();
  const formerValidUntil = await deps.keys.rotate({ ...reachOf(principal), ...input, keyText });
  return { keyText, formerValidUntil };
}

async function takeChange(deps: Pick<GatewayDeps, 'sql'>, accountId: Uuid): Promise<void> {
  const window = { name: `key-changes:${accountId}`, max: CHANGES_PER_HOUR, windowMs: HOUR_MS };
  const take = await takeFromWindow(deps.sql, window);
  if (take.kind === 'taken') return;
  throw new Problem('too-many-requests', {
    detail: `An account makes and rotates at most ${CHANGES_PER_HOUR} keys an hour.`,
    retryAfterSeconds: take.retryAfterSeconds,
    isUncharged: true,
  });
}

/** A key with its own caps and what is used of them; caps of keys above it are not told. */
export type KeyView = ListedKey & { use: CapUse | undefined };

/** The keys a key may see: all of the account for its first key, and for a child itself and those below it. */
export async function listKeys(
  deps: Pick<GatewayDeps, 'keys' | 'ledger'>,
  principal: Principal,
): Promise<KeyView[]> {
  const listed = await deps.keys.list(reachOf(principal));
  const uses = await deps.ledger.caps(listed.flatMap((key) => (key.capIds.includes(key.id) ? [key.id] : [])));
  const byId = new Map(uses.map((use) => [use.id, use]));
  return listed.map((key) => ({ ...key, use: byId.get(key.id) }));
}

/** What a key can still spend now: the account's balance, as far as every cap on its line lets it. */
export async function spendableBy(
  deps: Pick<GatewayDeps, 'ledger'>,
  principal: Pick<Principal, 'accountId' | 'capIds'>,
): Promise<Millicents> {
  const balance = await balanceOf(deps, principal.accountId);
  if (principal.capIds.length === 0) return balance;
  const left = leftUnder(await deps.ledger.caps(principal.capIds));
  return left === undefined || left > balance ? balance : millicents(left);
}

/** The caps a key has itself, with what is used of them. */
export async function ownCaps(
  deps: Pick<GatewayDeps, 'ledger'>,
  { keyId, capIds }: Principal,
): Promise<CapUse | undefined> {
  return capIds.includes(keyId) ? (await deps.ledger.caps([keyId]))[0] : undefined;
}

/**
 * A cap is the owner's word, not a lack of money: 403 and no challenge, so that no client pays around it on
 * its own.
 */
export function refuseByCap(principal: Principal, price: bigint, refusal: CapRefusal): Problem {
  const { cap, limit, left, resetsAt, capId } = refusal;
  const isOwn = capId === principal.keyId;
  const whose = isOwn ? 'This key' : 'A key above this one';
  const seconds = resetsAt && Math.max(1, Math.ceil((resetsAt.getTime() - Date.now()) / 1_000));
  return new Problem('forbidden', {
    detail: `${whose} ${describe(refusal)}, and the call costs ${price} mcents. The ${cap}_mcents cap is set by the key's owner.`,
    isUncharged: true,
    ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }),
    members: {
      cap: `${cap}_mcents`,
      cap_of: isOwn ? 'key' : 'ancestor',
      cap_mcents: toWireNumber(limit),
      left_mcents: toWireNumber(left),
      ...(resetsAt ? { resets_at: resetsAt.toISOString() } : {}),
    },
  });
}

function describe({ cap, limit, left, resetsAt }: CapRefusal): string {
  switch (cap) {
    case 'per_call':
      return `may spend ${limit} mcents on one call`;
    case 'per_hour':
      return `may spend ${limit} mcents an hour and has ${left} left until ${resetsAt?.toISOString()}`;
    case 'total':
      return `may spend ${limit} mcents in all and has ${left} left`;
    default:
      return cap satisfies never;
  }
}
