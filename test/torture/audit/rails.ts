import { canonicalJson } from '../../../src/core/canonical-json.ts';
import { addMs } from '../../../src/core/clock.ts';
import { creditLateArrivals, reconcileRails } from '../../../src/gateway/index.ts';
import type { Answer } from '../../e2e/fixtures.ts';
import {
  type Ending,
  endAttempt,
  type Holdings,
  readHoldings,
  settleDown,
} from '../../e2e/rail-faults/storm/audit.ts';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { hashOfRequest } from '../model/model.ts';
import { auditOwed } from '../probes/owed.ts';
import type { Storm } from '../storm.ts';
import type { ChargeRow } from './calls.ts';
import { tell, type Violation } from './violation.ts';

const ASKED_AT_ONCE = 6;
/** Each is waited for; after so many that never ended nobody asks for the others. */
const UNENDED_MAX = 6;
/** Longer than any authorization is good for. */
const LET_GO_MS = 60 * 60_000;

/** Lets every rail come to rest, and asks once more with each payment that was made. */
export async function endPayments(
  storm: Storm,
  auditor: TestGateway,
): Promise<{ endings: Ending[]; broken: Violation[] }> {
  const unended: string[] = [];
  const settle = () =>
    settleDown(storm.world.lab, auditor).catch((cause: unknown) => unended.push(String(cause)));
  const end = async (attempt: Attempt): Promise<Ending> => {
    try {
      if (unended.length < UNENDED_MAX) return await endAttempt(auditor, attempt);
    } catch (cause) {
      unended.push(`${attempt.label}, ${attempt.rail?.name}: ${cause}`);
    }
    return { attempt, status: undefined, body: undefined, isPaid: false };
  };
  await Promise.all(storm.broadcasts.values());
  await settle();
  await creditLate(storm, auditor);
  const paidAgain = await auditOwed(storm, auditor);
  const endings: Ending[] = [];
  for (let done = 0; done < storm.attempts.length; done += ASKED_AT_ONCE) {
    const some = storm.attempts.slice(done, done + ASKED_AT_ONCE);
    const ended = await Promise.all(some.map(end));
    endings.push(
      ...ended.map((ending) => (isCredited(storm, ending) ? { ...ending, isPaid: true } : ending)),
    );
  }
  await settle();
  for (const { attempt, status, isPaid } of endings) {
    const outcome = status === 200 ? 'delivered' : isPaid ? 'credit' : 'free';
    storm.counts.add(`payments in the end: ${attempt.rail?.name} ${attempt.purpose} ${outcome}`);
    const account = storm.model.accounts.find(({ key }) => key.text === attempt.key);
    if (account && attempt.purpose === 'topup' && status === 200) account.toppedUp += attempt.price;
  }
  return { endings, broken: [...tell('payments-unended', unended, (said) => said), ...paidAgain] };
}

/** Payments that were let go are looked at when their time is up: it is now, as nobody waits for that. */
async function creditLate({ world }: Storm, auditor: TestGateway): Promise<void> {
  const { http } = auditor.deps;
  const clock = { now: () => addMs(http.clock.now(), LET_GO_MS) };
  await world.postgres.sql`UPDATE payment_claim SET next_attempt_at = now()
    WHERE state = 'failed' AND reference IS NULL AND rail = 'evm'`;
  while ((await creditLateArrivals({ ...http, clock }, AbortSignal.timeout(20_000))) > 0);
}

/** It was on its chain before anybody showed it to us: it bought nothing, and its payer opens it by a signature. */
export function isCredited({ broadcasts }: Storm, { attempt, status, body }: Ending): boolean {
  const isUsed = status === 409 && body?.type.endsWith('credential-used') === true;
  return broadcasts.has(attempt) && isUsed && body?.refund_key === undefined;
}

type Input = {
  auditor: TestGateway;
  endings: readonly Ending[];
  before: Holdings;
  charges: readonly ChargeRow[];
};

/** What payers know, what each rail has, and what the books say of it: the same, to the last unit. */
export async function auditRails(storm: Storm, input: Input): Promise<Violation[]> {
  const { auditor, endings, before, charges } = input;
  const now = await readHoldings(storm.world.lab);
  const booked = await readBooked(storm);
  const { unreachable, assets } = await reconcileRails(auditor.deps.http, AbortSignal.timeout(20_000));
  const sums = (['evm', 'tempo', 'lightning', 'stripe'] as const).map((rail) => {
    const paid = endings.reduce(
      (sum, { attempt, isPaid }) => sum + (isPaid && attempt.rail?.rail === rail ? attempt.units : 0n),
      0n,
    );
    // Stripe's own record of what it kept of it is what the books have.
    const expected = rail === 'stripe' ? BigInt(storm.world.lab.stripe.sums().net) : paid;
    return { rail, paid, grown: now[rail] - before[rail], booked: booked.get(rail) ?? 0n, expected };
  });
  const wrong = sums.filter(
    ({ paid, grown, booked: known, expected }) => paid !== grown || known !== expected,
  );
  const differing = assets.filter(({ verdict }) => verdict !== 'agrees');
  return [
    ...tell(
      'rail-sum',
      wrong,
      (sum) => `${sum.rail}: paid ${sum.paid}, has ${sum.grown}, booked ${sum.booked}`,
    ),
    ...tell(
      'rail-reconciled',
      differing,
      (asset) => `${asset.account}: ${asset.verdict} by ${asset.difference}`,
    ),
    ...tell('rail-reconciled', unreachable, ({ rail, reason }) => `${rail}: ${reason}`),
    ...auditEndings(endings),
    ...auditLate(storm, endings),
    ...auditPaidCalls(endings, charges),
  ];
}

/** Every 200 that was ever read is the one that is read in the end, and what came back once comes back again. */
function auditEndings(endings: readonly Ending[]): Violation[] {
  const taken = endings.filter(({ attempt, status, body }) =>
    attempt.answers.some(
      (answer) =>
        (answer.status === 200 && (status !== 200 || !isSame(answer.body, body))) ||
        (answer.body.refund_key !== undefined && answer.body.refund_key !== body?.refund_key),
    ),
  );
  const failing = endings.filter(({ attempt, status }) => status === 200 && isMeantToFail(attempt));
  const open = endings.filter(({ status }) => status === 409 || (status ?? 0) >= 500);
  const unsettled = open.filter(
    ({ body }) => body?.type.endsWith('outcome-unknown') || body?.type.endsWith('in-flight'),
  );
  return [
    ...tell('payment-answered-differently', taken, spell),
    ...tell('delivered-although-failed', failing, spell),
    ...tell('payment-never-known', unsettled, spell),
  ];
}

/**
 * A payment is let go when its rail has refused it, or its call failed; only somebody else can bring it there after
 * that. One of which the rail lost its answer is not refused: it is asked for until it is known.
 */
function auditLate({ broadcasts }: Storm, endings: readonly Ending[]): Violation[] {
  const late = endings.filter(
    ({ attempt, body }) => body?.detail?.includes(LATE) && !broadcasts.has(attempt),
  );
  return tell('refused-although-taken', late, spell);
}

const LATE = 'arrived after its call was let go';

export function isSame(one: Answer, other: Answer | undefined): boolean {
  const essence = (body: Answer | undefined) =>
    canonicalJson([body?.result, body?.receipt_id, body?.key, body?.charged_mcents]);
  return essence(one) === essence(other);
}

/** Every receipt of a payment is for a call that its payer was answered, and every such call has its own. */
function auditPaidCalls(endings: readonly Ending[], charges: readonly ChargeRow[]): Violation[] {
  const receipts = new Map(charges.filter(({ rail }) => rail !== 'key').map((charge) => [charge.id, charge]));
  const calls = endings.filter(({ attempt, status }) => attempt.purpose === 'call' && status === 200);
  const wrong = calls.filter(({ attempt, body }) => {
    const charge = receipts.get(body?.receipt_id ?? '');
    receipts.delete(body?.receipt_id ?? '');
    return charge?.request !== hashOfAttempt(attempt) || charge.price !== BigInt(attempt.price);
  });
  return [
    ...tell('payment-without-receipt', wrong, spell),
    ...tell('receipt-without-payment', [...receipts.values()], ({ id, rail }) => `${rail} ${id}`),
  ];
}

function readAsked({ request }: Attempt): { tool: string; arguments: { mood?: string } } {
  return JSON.parse(String(request.body)) as { tool: string; arguments: { mood?: string } };
}

const isMeantToFail = (attempt: Attempt) =>
  attempt.purpose === 'call' && readAsked(attempt).arguments.mood === 'error';

export function requestOfAttempt(attempt: Attempt) {
  return { server: decodeURIComponent(attempt.path.replace('/invoke/', '')), ...readAsked(attempt) };
}

export function hashOfAttempt(attempt: Attempt): string {
  return hashOfRequest(requestOfAttempt(attempt));
}

function spell({ attempt, status, body }: Ending): string {
  const said = attempt.answers.map(
    (answer) => `${answer.status} ${answer.body.type ?? answer.body.receipt_id ?? ''}`,
  );
  return `${attempt.label} (${attempt.rail?.name} ${attempt.purpose}): ${said.join(' | ')}; in the end ${status} ${body?.type ?? body?.receipt_id ?? ''}`;
}

/** What we own on each rail by the journal: debits less credits of its asset accounts. */
async function readBooked({ world }: Storm): Promise<Map<string, bigint>> {
  const rows = await world.postgres.sql<{ rail: string; owned: bigint }[]>`
    SELECT split_part(substr(a.name, 3), ':', 1) AS rail,
      sum(CASE WHEN a.id = e.debit_id THEN e.amount ELSE -e.amount END)::bigint AS owned
    FROM ledger_account a JOIN ledger_entry e ON e.debit_id = a.id OR e.credit_id = a.id
    WHERE a.name LIKE 'A.%' GROUP BY 1`;
  return new Map(rows.map(({ rail, owned }) => [rail, owned]));
}
