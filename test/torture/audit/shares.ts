import type { Sql } from '../../../src/db/index.ts';
import { type CallRequest, hashOfRequest, listWithin } from '../model/model.ts';
import type { Storm } from '../storm.ts';
import type { ChargeRow } from './calls.ts';
import { hashOfAttempt, requestOfAttempt } from './rails.ts';
import { tell, type Violation } from './violation.ts';

/** What the platform keeps of a hundred: of tools in its sandbox, and of its own example. Said here once more. */
const HOSTED_PERCENT = 20n;
const EXAMPLE = 'millicent/example';

/** Who got what of each charge, who is said to have paid, and of which money: by what this suite knows of both sides. */
export async function auditShares(storm: Storm, charges: readonly ChargeRow[]): Promise<Violation[]> {
  const { sql } = storm.world.postgres;
  const asked = listAsked(storm);
  const wrong = charges.flatMap((charge) => {
    const request = asked.get(charge.request);
    const said = request && findWrongShare(storm, charge, request);
    return said === undefined ? [] : [`${charge.id} of ${request?.server}: ${said}`];
  });
  return [
    ...tell('shared-wrongly', wrong, (said) => said),
    ...tell('payer-misnamed', findMisnamed(charges), (said) => said),
    ...tell('promo-wrong', await findWrongPromo(storm, sql, charges), (said) => said),
    ...tell('cap-exceeded', findExceeded(storm, charges), (said) => said),
  ];
}

type Asked = Pick<CallRequest, 'server' | 'tool'>;

/** What was asked for, by the hash that its receipt has; what nobody asked for is another rule's. */
function listAsked({ model, attempts }: Storm): Map<string, Asked> {
  const calls = [...model.calls.values()].map(({ request }) => [hashOfRequest(request), request] as const);
  const paid = attempts
    .filter(({ purpose }) => purpose === 'call')
    .map((attempt) => [hashOfAttempt(attempt), requestOfAttempt(attempt)] as const);
  return new Map<string, Asked>([...calls, ...paid]);
}

function findWrongShare({ shops }: Storm, charge: ChargeRow, { server, tool }: Asked): string | undefined {
  const { price, fee, payeeId, toolName } = charge;
  if (toolName !== tool) return `a receipt of ${toolName}`;
  if (server === EXAMPLE) return fee === price ? undefined : `a fee of ${fee} of ${price}, which is all ours`;
  const { good, bad, paid } = shops;
  const all = [...good, ...bad, ...[...paid.values()].flatMap((pair) => [pair.good, ...pair.bad])];
  const shop = all.find(({ name }) => name === server);
  const least = (price * HOSTED_PERCENT) / 100n;
  const isWhole = (price * HOSTED_PERCENT) % 100n === 0n;
  if (fee !== least && (isWhole || fee !== least + 1n)) return `a fee of ${fee} of ${price}`;
  return payeeId === shop?.payeeId ? undefined : `for ${payeeId}, and not for ${shop?.payeeId}`;
}

/** Calls by key: one account goes by one name in all its receipts, whichever of its keys paid, and no other does. */
function findMisnamed(charges: readonly ChargeRow[]): string[] {
  const byKey = charges.filter(({ rail }) => rail === 'key');
  const names = new Map<string, Set<string>>();
  const accounts = new Map<string, Set<string>>();
  for (const { accountId, payer } of byKey) {
    names.set(accountId, (names.get(accountId) ?? new Set()).add(payer));
    accounts.set(payer, (accounts.get(payer) ?? new Set()).add(accountId));
  }
  const many = (of: Map<string, Set<string>>) => [...of].filter(([, others]) => others.size > 1);
  return [...many(names), ...many(accounts)].map(([one, others]) => `${one}: ${[...others].join(', ')}`);
}

/** Minted money is given away: it goes first, and what it pays is nobody's to withdraw. */
async function findWrongPromo({ model }: Storm, sql: Sql, charges: readonly ChargeRow[]): Promise<string[]> {
  const rows = await sql<{ id: string; promo: bigint; withdrawable: bigint }[]>`
    SELECT p.id, p.promo, (SELECT count(*) FROM ledger_entry e
      WHERE e.debit_id = p.id AND e.kind = 'share' AND e.available_at <> 'infinity') AS withdrawable
    FROM ledger_payer p`;
  const stored = new Map(rows.map((row) => [row.id, row]));
  const spent = new Map<string, bigint>();
  for (const { accountId, price } of charges) spent.set(accountId, (spent.get(accountId) ?? 0n) + price);
  return model.accounts.flatMap(({ plan, id, toppedUp }) => {
    const { promo, withdrawable } = stored.get(id) ?? {};
    const left = BigInt(plan.balance) - (spent.get(id) ?? 0n);
    const expected = left > 0n ? left : 0n;
    if (promo !== expected) return [`account ${plan.index}: ${promo} given away are left, not ${expected}`];
    const isAllGiven = toppedUp === 0;
    return isAllGiven && withdrawable !== 0n
      ? [`account ${plan.index}: ${withdrawable} may be withdrawn`]
      : [];
  });
}

/** What a child and all below it were charged, against what its owner allowed it. */
function findExceeded({ model }: Storm, charges: readonly ChargeRow[]): string[] {
  const prices = new Map<string, bigint[]>();
  for (const { keyId, price } of charges) {
    if (keyId !== null) prices.set(keyId, [...(prices.get(keyId) ?? []), price]);
  }
  return model.accounts.flatMap((account) =>
    account.children.flatMap((key, child) => {
      const taken = listWithin(account, child).flatMap(({ id }) => prices.get(id) ?? []);
      const { perCall, total } = key.caps ?? {};
      const sum = taken.reduce((all, price) => all + price, 0n);
      const isOver = total !== undefined && sum > BigInt(total);
      const isDear = perCall !== undefined && taken.some((price) => price > BigInt(perCall));
      return isOver || isDear
        ? [`child ${child} of account ${account.plan.index}: ${sum} of ${total}, calls of ${perCall}`]
        : [];
    }),
  );
}
