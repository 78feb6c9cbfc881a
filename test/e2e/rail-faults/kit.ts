import { expect } from 'vitest';
import { reconcileRails } from '../../../src/gateway/index.ts';
import type { RailName } from '../../../src/payments/rail.ts';
import type { GatewayClient, TestGateway } from '../../harness/gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import type { RailLab } from '../../harness/rail-lab.ts';
import type { ClaimRow } from '../fault-lab.ts';
import { withHeaders } from '../fault-lab.ts';
import { type Answer, jsonBody, publishEcho, readAnswer, readBooks } from '../fixtures.ts';
import { CHEAP, DEAR, type Payer, type RailCase } from './payers.ts';

/** Two servers of the same tools: one for a fraction of a cent, one for what a card can pay. */
export type Shop = { cheap: string; dear: string };

export async function openShop(gateway: GatewayClient): Promise<Shop> {
  const priced = (amount_mcents: number) => ({ pricing: { model: 'per_call', amount_mcents } });
  const [cheap, dear] = [await publishEcho(gateway, priced(CHEAP)), await publishEcho(gateway, priced(DEAR))];
  return { cheap: cheap.call, dear: dear.call };
}

export const pathOf = (shop: Shop, { price }: RailCase) => (price === DEAR ? shop.dear : shop.cheap);

let calls = 0;

/** A call that nobody has made before, whose result tells its run from every other. */
export function newCall(tool = 'random', args: Record<string, unknown> = {}) {
  calls += 1;
  const label = `call ${calls}`;
  return { label, request: jsonBody({ tool, arguments: { label, ...args } }) };
}

/** The request with a payment for it; on Lightning the call has been made by then. */
export async function payFor(
  gateway: GatewayClient,
  payer: Payer,
  path: string,
  request: RequestInit,
): Promise<RequestInit> {
  return withHeaders(request, await payer.pay(await gateway.fetch(path, request)));
}

/** The claims of a rail, oldest first. */
export function readRailClaims({ database }: RailLab, rail: RailName): Promise<ClaimRow[]> {
  return database.sql<ClaimRow[]>`
    SELECT id, state, answer_state, mode, reference, failure FROM payment_claim
    WHERE rail = ${rail} AND attached_to IS NULL ORDER BY created_at`;
}

/** What a payer is told while nobody knows: never a challenge, and when to ask again. */
export async function expectUnknown(response: Response, type: string): Promise<Answer> {
  const body = await readAnswer(response);
  expect([response.status, body.type, body.detail]).toEqual([
    503,
    `https://millicent.dev/problems/${type}`,
    body.detail,
  ]);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(response.headers.get('payment-required')).toBeNull();
  expect(response.headers.get('www-authenticate')).toBeNull();
  expect(body).not.toHaveProperty('result');
  return body;
}

export async function expectAnswer(response: Response): Promise<Answer> {
  const body = await readAnswer(response);
  expect([response.status, body]).toEqual([200, body]);
  return body;
}

/** The payment stands and bought nothing: a key that opens it, with all of it on it. */
export async function expectCredit(gateway: GatewayClient, response: Response, amount: number) {
  const body = await readAnswer(response);
  expect(response.headers.get('payment-required')).toBeNull();
  expect(body).toMatchObject({ ok: false, refund_mcents: amount });
  const headers = { authorization: `Bearer ${body.refund_key}` };
  const balance = await readAnswer(await gateway.fetch('/v1/balance', { headers }));
  expect(balance.balance_mcents).toBe(amount);
  return body;
}

/** Until no claim, hold or exposure is open any more. */
export function untilQuiet(lab: RailLab, maxMs = 45_000): Promise<unknown> {
  return waitUntil(async () => {
    const open = await readOpen(lab);
    return open.claims + open.holds + open.exposures === 0n;
  }, maxMs);
}

export async function readOpen({ database }: RailLab) {
  const [row] = await database.sql<{ claims: bigint; holds: bigint; exposures: bigint }[]>`
    SELECT (SELECT count(*) FROM ledger_hold WHERE state = 'held') AS holds,
      (SELECT count(*) FROM payment_claim WHERE state IN ('running', 'settling')) AS claims,
      (SELECT count(*) FROM ledger_exposure WHERE state IN ('authorised', 'settling', 'unknown')) AS exposures`;
  if (!row) throw new Error('the database does not count');
  return row;
}

/**
 * Nothing is left half done, the ledger balances, and every rail holds what the books say, to the last unit.
 */
export async function expectReconciled(lab: RailLab, gateway: TestGateway): Promise<void> {
  lab.mend();
  await untilQuiet(lab);
  const books = await readBooks(gateway);
  expect(books.discrepancies).toEqual([]);
  expect(books.balanced).toBe(true);
  const report = await reconcileRails(gateway.deps.http, AbortSignal.timeout(10_000));
  expect(report.unreachable).toEqual([]);
  expect(report.assets.filter(({ verdict }) => verdict !== 'agrees')).toEqual([]);
  expect(report.assets.length).toBeGreaterThan(0);
}
