import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { confirmSettlements, creditLateArrivals, reconcileRails } from '../../../../src/gateway/index.ts';
import type { GatewayClient, TestGateway } from '../../../harness/gateway.ts';
import { waitUntil } from '../../../harness/process.ts';
import type { RailLab } from '../../../harness/rail-lab.ts';
import { type Answer, readAnswer, readBooks, tokenBalance } from '../../fixtures.ts';
import { readOpen } from '../kit.ts';
import { balanceOnTempo } from '../payers.ts';
import type { Attempt } from './clients.ts';

/** What each rail has of us and of its payers, in native units, as the rails themselves say. */
export type Holdings = { evm: bigint; tempo: bigint; lightning: bigint; agent: bigint; stripe: bigint };

export async function readHoldings(lab: RailLab): Promise<Holdings> {
  const { anvil, tempo, lightning, stripe } = lab;
  const [evm, onTempo, node, agent] = await Promise.all([
    tokenBalance(anvil, anvil.payTo),
    balanceOnTempo(tempo, tempo.recipient),
    lightning.node.balance(AbortSignal.timeout(10_000)),
    lightning.agentBalance(),
  ]);
  return { evm, tempo: onTempo, lightning: node.msat, agent, stripe: BigInt(stripe.sums().gross) };
}

const WAIT_MS = 60_000;

/**
 * Until nothing is open any more: no claim, hold or exposure, no payment held by a node or by Stripe, none
 * that its chain could still take back. The jobs of the gateways do it; what they would only do in a minute is made due now.
 */
export async function settleDown(lab: RailLab, gateway: TestGateway): Promise<void> {
  const hasten = async () => {
    await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now()
      WHERE state = 'settling' AND next_attempt_at > now() + interval '3 seconds'
        AND next_attempt_at < now() + interval '70 seconds'`;
    await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now()
      WHERE state = 'failed' AND reference IS NULL AND rail IN ('stripe', 'lightning')`;
    await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now()
      WHERE state IN ('delivered', 'failed') AND reference IS NOT NULL AND final_at IS NULL`;
    await Promise.all([lab.anvil, lab.tempo].map(({ rpc }) => rpc('anvil_mine', ['0x2'])));
    await confirmSettlements(gateway.deps.http, AbortSignal.timeout(20_000));
    await creditLateArrivals(gateway.deps.http, AbortSignal.timeout(20_000));
    for (const { name, run } of gateway.deps.jobs) {
      if (name === 'resume-evm') await run(AbortSignal.timeout(20_000));
    }
  };
  try {
    await waitUntil(async () => {
      await hasten();
      return isQuiet(await readUnfinished(lab));
    }, WAIT_MS);
  } catch (cause) {
    throw new Error(`not quiet: ${say(await readUnfinished(lab))}`, { cause });
  }
}

async function readUnfinished(lab: RailLab) {
  const [row] = await lab.database.sql<{ invoices: bigint; unconfirmed: bigint }[]>`
    SELECT (SELECT count(*) FROM payment_invoice WHERE state IN ('held', 'paid')) AS invoices,
      (SELECT count(*) FROM payment_claim WHERE rail IS NOT NULL AND reference IS NOT NULL
        AND final_at IS NULL) AS unconfirmed`;
  const cards = lab.stripe.payments().filter(({ status }) => status === 'requires_capture').length;
  return { ...(await readOpen(lab)), ...row, cards };
}

const isQuiet = (open: object) => Object.values(open).every((count) => Number(count) === 0);
const say = (value: unknown) =>
  JSON.stringify(value, (_key, member) => (typeof member === 'bigint' ? member.toString() : member));

/** What a client finally has of an attempt, asked with the same payment once more. */
export type Ending = {
  attempt: Attempt;
  status: number | undefined;
  body: Answer | undefined;
  isPaid: boolean;
};

export async function endAttempt(gateway: GatewayClient, attempt: Attempt): Promise<Ending> {
  await Promise.race([attempt.paying, failLate()]);
  if (!attempt.paid) return { attempt, status: undefined, body: undefined, isPaid: false };
  const response = await waitUntil(async () => {
    const again = await gateway.fetch(attempt.path, attempt.paid);
    return again.status === 409 && (await isInFlight(again)) ? undefined : again;
  });
  const body = await readAnswer(response);
  const isPaid = response.status === 200 || body.refund_key !== undefined;
  return { attempt, status: response.status, body, isPaid };
}

async function failLate(): Promise<never> {
  await sleep(WAIT_MS, undefined, { ref: false });
  throw new Error('its wallet was neither told that it was paid nor given its money back');
}

async function isInFlight(response: Response): Promise<boolean> {
  return (await readAnswer(response.clone())).type.endsWith('in-flight');
}

/** Every 200 that any client ever read is the one it reads in the end, and no answer took money and said not. */
export function expectOneAnswer({ attempt, status, body }: Ending): void {
  for (const answer of attempt.answers.filter((each) => each.status === 200)) {
    expect([attempt.label, attempt.rail?.name, status, body]).toEqual([
      attempt.label,
      attempt.rail?.name,
      200,
      body,
    ]);
    expect(essence(answer.body)).toEqual(essence(body));
  }
  if (status !== 200 && body?.refund_key === undefined) {
    for (const answer of attempt.answers) expect(answer.body.refund_key).toBeUndefined();
  }
}

/** What cannot differ from one answer to the next; a balance may have been spent meanwhile. */
function essence(body: Answer | undefined) {
  return { result: body?.result, receipt: body?.receipt_id, key: body?.key, charged: body?.charged_mcents };
}

/** The sums of all four rails by hand: what clients say they paid, what the rails hold, what the journal says. */
export async function expectTrueSums(
  lab: RailLab,
  input: { gateway: TestGateway; endings: Ending[]; before: Holdings },
): Promise<void> {
  const { gateway, endings, before } = input;
  const now = await readHoldings(lab);
  const grown = {
    evm: now.evm - before.evm,
    tempo: now.tempo - before.tempo,
    lightning: now.lightning - before.lightning,
    stripe: now.stripe - before.stripe,
  };
  const paid = { evm: 0n, tempo: 0n, lightning: 0n, stripe: 0n };
  for (const { attempt, isPaid } of endings) {
    if (isPaid && attempt.rail) paid[attempt.rail.rail] += attempt.units;
  }
  expect(grown).toEqual(paid);
  expect(before.agent - now.agent).toBe(paid.lightning);
  const booked = await readBooked(lab);
  expect({ ...booked, stripe: undefined }).toEqual({ ...grown, stripe: undefined });
  expect(booked.stripe).toBe(BigInt(lab.stripe.sums().net));
  const books = await readBooks(gateway);
  expect(books).toMatchObject({ balanced: true, discrepancies: [] });
  const report = await reconcileRails(gateway.deps.http, AbortSignal.timeout(20_000));
  expect(report.unreachable).toEqual([]);
  expect(report.assets.filter(({ verdict }) => verdict !== 'agrees')).toEqual([]);
}

/** What we own by the journal: debits less credits of each rail's asset accounts. */
async function readBooked({ database }: RailLab) {
  const rows = await database.sql<{ rail: string; owned: bigint }[]>`
    SELECT substring(a.name FROM '^A\\.([a-z]+):') AS rail,
      sum(CASE WHEN a.id = e.debit_id THEN e.amount ELSE -e.amount END)::bigint AS owned
    FROM ledger_entry e JOIN ledger_account a ON a.id IN (e.debit_id, e.credit_id)
    WHERE a.name LIKE 'A.%' GROUP BY 1`;
  const of = (rail: string) => rows.find((row) => row.rail === rail)?.owned ?? 0n;
  return { evm: of('evm'), tempo: of('tempo'), lightning: of('lightning'), stripe: of('stripe') };
}

/** Claims against what the clients know, and every capture against a receipt. */
export async function expectTrueClaims(lab: RailLab, endings: Ending[]): Promise<void> {
  const { sql } = lab.database;
  const [counts] = await sql<{ captured: bigint; receipts: bigint; delivered: bigint; credited: bigint }[]>`
    SELECT (SELECT count(*) FROM ledger_hold WHERE state = 'captured') AS captured,
      (SELECT count(*) FROM receipt) AS receipts,
      (SELECT count(*) FROM payment_claim WHERE state = 'delivered') AS delivered,
      (SELECT count(*) FROM payment_claim WHERE state = 'failed' AND reference IS NOT NULL) AS credited`;
  const calls = endings.filter(({ attempt, status }) => attempt.purpose === 'call' && status === 200);
  expect(counts).toEqual({
    captured: BigInt(calls.length),
    receipts: BigInt(calls.length),
    delivered: BigInt(endings.filter(({ status }) => status === 200).length),
    credited: BigInt(endings.filter(({ body }) => body?.refund_key !== undefined).length),
  });
  expect(new Set(calls.map(({ body }) => body?.receipt_id)).size).toBe(calls.length);
  const wrong = await sql`
    SELECT p.id, p.balance, p.held, j.balance AS proven FROM ledger_payer p LEFT JOIN LATERAL (
      SELECT coalesce(sum(amount) FILTER (WHERE credit_id = p.id), 0)
        - coalesce(sum(amount + fee) FILTER (WHERE debit_id = p.id), 0) AS balance
      FROM ledger_entry WHERE p.id IN (debit_id, credit_id)) j ON true
    WHERE p.balance <> j.balance OR p.held <> 0`;
  expect([...wrong]).toEqual([]);
}

export async function balanceOf(gateway: GatewayClient, key: string | undefined): Promise<number> {
  const headers = { authorization: `Bearer ${key}` };
  return (await readAnswer(await gateway.fetch('/v1/balance', { headers }))).balance_mcents;
}
