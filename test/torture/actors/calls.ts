import { type CallRequest, type CallState, type KeyState, outcomeOf } from '../model/model.ts';
import { readVerdict, type Verdict } from '../model/verdict.ts';
import { delivers } from '../plan/calls.ts';
import type { CallPlan } from '../plan/plan.ts';
import type { Storm } from '../storm.ts';

const EXAMPLE_PRICE = 100;

/** Makes a call as planned and notes all that is said about it. */
export async function makeCall(storm: Storm, plan: CallPlan): Promise<void> {
  if (storm.world.fleet.living() === 0) return storm.counts.add('calls not made: every gateway was down');
  const call = openCall(storm, plan);
  if (!call) return;
  const text = secretOf(call);
  await Promise.all(plan.gateways.map((place) => sendCall(storm, call, { place, text })));
}

/** Asks for a call again, by the key as it is now; only one under an `Idempotency-Key` may be asked for twice. */
export function askAgain(storm: Storm, call: CallState, place: number): Promise<void> {
  return sendCall(storm, call, { place, text: call.key.text, isLate: true });
}

function openCall({ model, shops }: Storm, plan: CallPlan): CallState | undefined {
  const account = model.accounts[plan.account];
  const key = plan.child === undefined ? account?.key : account?.children[plan.child];
  if (!account || !key) return undefined;
  const shop = (delivers(plan.mood) ? shops.good : shops.bad)[plan.shop];
  if (!shop) return undefined;
  const { label, mood, runMs } = plan;
  const request: CallRequest =
    plan.tool === 'example'
      ? { server: 'millicent/example', tool: 'example', arguments: { label } }
      : { server: shop.name, tool: 'ask', arguments: { label, mood, ms: runMs } };
  const firstSentAt = performance.now();
  const price = plan.tool === 'example' ? EXAMPLE_PRICE : shop.price;
  const isFormer = plan.usesFormerSecret && key.former !== undefined;
  const wasReplaced = isFormer && firstSentAt - (key.former?.replacedAt ?? 0) > FORGETTING_MS;
  const call = { plan, account, key, request, price, firstSentAt, verdicts: [], wasReplaced };
  model.calls.set(label, call);
  return call;
}

/** How long another gateway may go on to know a key by a secret that was replaced, with some to spare. */
export const FORGETTING_MS = 3_000;

function secretOf({ plan, key }: CallState): string {
  return plan.usesFormerSecret && key.former ? key.former.text : key.text;
}

async function sendCall(
  storm: Storm,
  call: CallState,
  { place, text, isLate = false }: { place: number; text: string; isLate?: boolean },
): Promise<void> {
  const { plan, request } = call;
  const gateway = storm.world.fleet.near(place);
  if (!gateway) return void call.verdicts.push({ kind: 'unknown', why: 'not sent' });
  const path = plan.tool === 'example' ? '/v1/example' : `/invoke/${encodeURIComponent(request.server)}`;
  const body =
    plan.tool === 'example' ? request.arguments : { tool: request.tool, arguments: request.arguments };
  const headers = {
    authorization: `Bearer ${text}`,
    ...(plan.idempotencyKey === undefined ? {} : { 'idempotency-key': plan.idempotencyKey }),
  };
  const patienceMs = isLate ? LATE_PATIENCE_MS : plan.patienceMs;
  const verdict = await storm.wire.post(gateway.url + path, body, { headers, patienceMs }).then(
    (answer) => readVerdict(answer.status, answer.text),
    (cause: unknown): Verdict => ({ kind: 'unknown', why: nameOf(cause) }),
  );
  call.verdicts.push(verdict);
  storm.counts.add(`answers ${isLate ? 'in the end' : 'to calls'}: ${describe(verdict)}`);
}

const LATE_PATIENCE_MS = 30_000;

/** Whether a call has to be asked for again before it is known what it came to. */
export function isOpen(call: CallState): boolean {
  // It was sent with a secret that was replaced; with the one that is good now it would be another call.
  if (call.wasReplaced) return false;
  if (call.plan.idempotencyKey === undefined || outcomeOf(call).kind === 'charged') return false;
  return call.verdicts.length > 0;
}

export function describe(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'free':
      return `${verdict.status} ${verdict.problem}, free`;
    case 'unknown':
      return `unknown, ${verdict.why}`;
    case 'bug':
      return '500';
    default:
      return verdict.kind;
  }
}

function nameOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'no answer';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
}

export type { KeyState };
