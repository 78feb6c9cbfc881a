import type { Ending } from '../../e2e/rail-faults/storm/audit.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { tell, type Violation } from '../audit/violation.ts';
import { type CallState, outcomeOf } from '../model/model.ts';
import type { Storm } from '../storm.ts';

/** How many of each are tried. */
const TRIED_MAX = 20;
const PATIENCE_MS = 20_000;

/** What paid for one call is shown for another one: it buys nothing, and is given no answer that was bought before. */
export async function auditMisuse(
  storm: Storm,
  paid: { auditor: TestGateway; endings: readonly Ending[] } | undefined,
): Promise<Violation[]> {
  const byKey = [...storm.model.calls.values()].filter(isRepeatable).slice(0, TRIED_MAX);
  const byPayment = (paid?.endings ?? [])
    .filter(({ attempt, status }) => attempt.purpose === 'call' && status === 200)
    .slice(0, TRIED_MAX);
  const fillings = (paid?.endings ?? [])
    .filter(({ attempt, status }) => attempt.purpose === 'topup' && status === 200)
    .slice(0, TRIED_MAX);
  storm.counts.add('top-ups shown for another key', fillings.length);
  storm.counts.add('calls and payments shown for another call', byKey.length + byPayment.length);
  const answered: string[] = [];
  for (const call of byKey) {
    if ((await askOther(storm, call)) === 200) answered.push(`the Idempotency-Key of ${call.plan.label}`);
  }
  for (const { attempt } of byPayment) {
    const body = JSON.parse(String(attempt.paid?.body)) as { arguments: object };
    const other = { ...body, arguments: { ...body.arguments, label: `other than ${attempt.label}` } };
    const response = await paid?.auditor.fetch(attempt.path, {
      ...attempt.paid,
      body: JSON.stringify(other),
    });
    if (response?.status === 200) answered.push(`the payment ${attempt.label}, ${attempt.rail?.name}`);
  }
  for (const { attempt } of fillings) {
    const other = storm.model.accounts.find(({ key }) => key.text !== attempt.key);
    const headers = {
      ...(attempt.paid?.headers as Record<string, string>),
      'x-api-key': other?.key.text ?? '',
    };
    const response = await paid?.auditor.fetch(attempt.path, { ...attempt.paid, headers });
    if (response?.status === 200) answered.push(`the top-up ${attempt.label}, ${attempt.rail?.name}`);
  }
  return tell('answered-another-call', answered, (what) => `${what} was answered for another call`);
}

function isRepeatable(call: CallState): boolean {
  const { plan, key } = call;
  const isKeyGood = key.revokeAskedAt === undefined && key.former === undefined;
  return plan.idempotencyKey !== undefined && isKeyGood && outcomeOf(call).kind === 'charged';
}

async function askOther(
  { world, wire }: Storm,
  { plan, key, request }: CallState,
): Promise<number | undefined> {
  const path = plan.tool === 'example' ? '/v1/example' : `/invoke/${encodeURIComponent(request.server)}`;
  const other = { ...request.arguments, label: `other than ${plan.label}` };
  const body = plan.tool === 'example' ? other : { tool: request.tool, arguments: other };
  const headers = { authorization: `Bearer ${key.text}`, 'idempotency-key': plan.idempotencyKey ?? '' };
  const url = `${world.fleet.near(0)?.url ?? ''}${path}`;
  // Who is not answered is given nothing either.
  const answer = await wire.post(url, body, { headers, patienceMs: PATIENCE_MS }).catch(() => undefined);
  return answer?.status;
}
