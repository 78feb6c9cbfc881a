import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256Hex } from '../../../src/core/bytes.ts';
import { canonicalJson } from '../../../src/core/canonical-json.ts';
import type { Sql } from '../../../src/db/index.ts';
import { type CallState, expectedResult, hashOfRequest, outcomeOf } from '../model/model.ts';
import type { Verdict } from '../model/verdict.ts';
import type { Storm } from '../storm.ts';
import { tell, type Violation } from './violation.ts';

/** A charge as the database has it. */
export type ChargeRow = {
  id: string;
  request: string;
  response: string;
  price: bigint;
  rail: string;
  fee: bigint;
  payeeId: string;
  /** The server's name, and who is said to have paid. */
  toolName: string;
  payer: string;
  accountId: string;
  keyId: string | null;
};

export function readCharges(sql: Sql): Promise<ChargeRow[]> {
  return sql<ChargeRow[]>`
    SELECT r.id, encode(r.request_hash, 'hex') AS request, encode(r.response_hash, 'hex') AS response, r.price, r.rail,
      r.fee, r.tool_name, r.payer, h.payee_id, h.account_id, h.key_id
    FROM receipt r JOIN ledger_hold h ON h.id = r.id AND h.state = 'captured'`;
}

/** Every call that was made and what was charged for it, by the hash of its request, which no two calls share. */
export type Ledgered = { call: CallState; charges: ChargeRow[] };

/** What the clients know against what was charged, call by call. */
export function auditCalls(storm: Storm, charges: readonly ChargeRow[]): Violation[] {
  const byRequest = new Map<string, ChargeRow[]>();
  for (const charge of charges) {
    byRequest.set(charge.request, [...(byRequest.get(charge.request) ?? []), charge]);
  }
  const known = new Set<string>();
  const pairs: Ledgered[] = [...storm.model.calls.values()].map((call) => {
    const hash = hashOfRequest(call.request);
    known.add(hash);
    return { call, charges: byRequest.get(hash) ?? [] };
  });
  const unasked = charges.filter(({ request, rail }) => rail === 'key' && !known.has(request));
  return [
    ...tell('charged-unasked', unasked, ({ id }) => `receipt ${id} is for what nobody asked`),
    ...RULES.flatMap(({ rule, isBroken }) =>
      tell(rule, pairs.filter(isBroken), (pair) => {
        const entries = pair.call.verdicts.flatMap((verdict) => readLogged(storm, verdict));
        return [describeCall(pair.call), describeCharges(pair), ...entries].join('; ');
      }),
    ),
  ];
}

/** What the gateways' logs say of a bug, by the id of its request. */
function readLogged({ world }: Storm, verdict: Verdict): string[] {
  const id = verdict.kind === 'bug' && /urn:request:([0-9a-f-]+)/.exec(verdict.text)?.[1];
  if (!id) return [];
  const logs = readdirSync(world.folder).filter((name) => name.endsWith('.log'));
  const lines = logs.flatMap((name) => readFileSync(join(world.folder, name), 'utf8').split('\n'));
  return lines.filter((line) => line.includes(id));
}

const chargedAnswers = ({ call }: Ledgered) =>
  call.verdicts.filter(
    (verdict): verdict is Extract<Verdict, { kind: 'charged' }> => verdict.kind === 'charged',
  );

/** Nothing stands in its way: money enough, no cap, a key that nobody touched. */
function isUnhindered({ call }: Ledgered): boolean {
  const { account, key, plan } = call;
  return (
    account.plan.isRich && key.caps === undefined && key.revokeAskedAt === undefined && !plan.usesFormerSecret
  );
}

type Rule = { rule: string; isBroken(pair: Ledgered): boolean };

const RULES: readonly Rule[] = [
  {
    rule: 'charge-lost',
    isBroken: ({ call, charges }) => {
      const outcome = outcomeOf(call);
      return outcome.kind === 'charged' && !charges.some(({ id }) => id === outcome.receiptId);
    },
  },
  { rule: 'charged-twice', isBroken: ({ charges }) => charges.length > 1 },
  {
    rule: 'charged-for-nothing',
    isBroken: ({ call, charges }) => outcomeOf(call).kind === 'free' && charges.length > 0,
  },
  {
    rule: 'charged-wrongly',
    isBroken: ({ call, charges }) =>
      charges.some(
        (charge) =>
          charge.price !== BigInt(call.price) ||
          charge.accountId !== call.account.id ||
          charge.keyId !== call.key.id,
      ),
  },
  {
    rule: 'answered-differently',
    isBroken: (pair) =>
      new Set(chargedAnswers(pair).map((answer) => canonicalJson(essence(answer)))).size > 1,
  },
  {
    rule: 'answer-not-receipted',
    isBroken: ({ call, charges }) => charges.some((charge) => !isItsAnswer(call, charge)),
  },
  {
    rule: 'delivered-although-failed',
    isBroken: (pair) => chargedAnswers(pair).length > 0 && !isPossible(pair.call, chargedAnswers(pair)),
  },
  {
    rule: 'unknown-without-outcome',
    isBroken: ({ call, charges }) =>
      call.verdicts.some(
        (verdict) =>
          verdict.kind === 'unknown' &&
          verdict.receiptId !== undefined &&
          charges.some(({ id }) => id !== verdict.receiptId),
      ),
  },
  {
    rule: 'revoked-key-charged',
    isBroken: ({ call, charges }) =>
      charges.length > 0 && call.firstSentAt > (call.key.revokedAt ?? Infinity),
  },
  { rule: 'former-secret-charged', isBroken: ({ call, charges }) => call.wasReplaced && charges.length > 0 },
  {
    rule: 'refused-without-reason',
    isBroken: (pair) =>
      isUnhindered(pair) &&
      pair.call.verdicts.some(
        (verdict) =>
          verdict.kind === 'free' &&
          ([401, 402, 403].includes(verdict.status) || verdict.problem === 'credential-used'),
      ),
  },
  {
    rule: 'answered-500',
    isBroken: ({ call }) => call.verdicts.some((verdict) => verdict.kind === 'bug'),
  },
];

function essence({ receiptId, charged, result }: Extract<Verdict, { kind: 'charged' }>) {
  return { receiptId, charged, result };
}

/** The example answers with its message alone; its receipt binds the whole result. */
function fullResult(call: CallState, result: unknown): unknown {
  if (call.plan.tool !== 'example') return result;
  const { message } = result as { message: string };
  return { content: [{ type: 'text', text: message }], structuredContent: { message } };
}

/** Whether the receipt is over what was answered, or, where no answer arrived, over what it had to be. */
function isItsAnswer(call: CallState, { response, id }: ChargeRow): boolean {
  const answer = call.verdicts.find((verdict) => verdict.kind === 'charged');
  if (answer?.kind === 'charged') {
    return answer.receiptId === id && sha256Hex(canonicalJson(fullResult(call, answer.result))) === response;
  }
  const expected = expectedResult(call);
  if (expected === undefined) return true;
  const result =
    call.plan.tool === 'example'
      ? fullResult(call, expected)
      : { content: [{ type: 'text', text: spellAsPython(call.plan.label) }], structuredContent: expected };
  return sha256Hex(canonicalJson(result)) === response;
}

const spellAsPython = (label: string) => `{"label": "${label}"}`;

/** Whether such a call may have such an answer at all. */
function isPossible(call: CallState, answers: Extract<Verdict, { kind: 'charged' }>[]): boolean {
  if (!['well', 'unique'].includes(call.plan.mood)) return false;
  return answers.every(({ charged, result }) => {
    if (charged !== call.price) return false;
    if (call.plan.tool === 'example') return canonicalJson(result) === canonicalJson(expectedResult(call));
    const { structuredContent } = result as { structuredContent?: { label?: string } };
    return structuredContent?.label === call.plan.label;
  });
}

function describeCall(call: CallState): string {
  const { plan, verdicts } = call;
  const said = verdicts.map((verdict) =>
    verdict.kind === 'charged' ? `charged ${verdict.receiptId}` : JSON.stringify(verdict),
  );
  const who = `account ${plan.account}${plan.child === undefined ? '' : ` child ${plan.child}`}`;
  const name = plan.idempotencyKey === undefined ? '' : `, ${plan.idempotencyKey}`;
  return `${plan.label} (${who}, ${plan.tool} ${plan.mood}${name}): ${said.join(' | ')}`;
}

function describeCharges({ charges }: Ledgered): string {
  return charges.length === 0 ? 'no charge' : charges.map(({ id, price }) => `${id} ${price}`).join(', ');
}

/** Every balance as the model has it, against the one that is stored. */
export async function auditBalances(storm: Storm, charges: readonly ChargeRow[]): Promise<Violation[]> {
  const { sql } = storm.world.postgres;
  const rows = await sql<{ id: string; balance: bigint }[]>`SELECT id, balance FROM ledger_payer`;
  const stored = new Map(rows.map(({ id, balance }) => [id, balance]));
  const charged = new Set(charges.map(({ request }) => request));
  const spent = new Map<string, number>();
  for (const call of storm.model.calls.values()) {
    const outcome = outcomeOf(call);
    // Where no answer told, the receipt does: it was charged, once and at its price, or not at all.
    const isCharged =
      outcome.kind === 'charged' || (outcome.kind === 'either' && charged.has(hashOfRequest(call.request)));
    if (isCharged) spent.set(call.account.id, (spent.get(call.account.id) ?? 0) + call.price);
  }
  const wrong = storm.model.accounts.flatMap((account) => {
    const expected = BigInt(account.plan.balance + account.toppedUp - (spent.get(account.id) ?? 0));
    const balance = stored.get(account.id);
    return balance === expected
      ? []
      : [`account ${account.plan.index}: stored ${balance}, model ${expected}`];
  });
  return tell('model-balance', wrong, (text) => text);
}

const PATIENCE_MS = 15_000;
const ASKED_MAX = 25;

/** What an account is told of its calls, where an answer was lost: the same as what was charged. */
export async function auditTold(storm: Storm, charges: readonly ChargeRow[]): Promise<Violation[]> {
  const open = [...storm.model.calls.values()].filter((call) => outcomeOf(call).kind === 'either');
  const accounts = [...new Set(open.map(({ account }) => account))].slice(0, ASKED_MAX);
  const wrong: string[] = [];
  for (const account of accounts) {
    const told = await readTold(storm, account.key.text).catch((cause: unknown) => String(cause));
    if (typeof told === 'string') {
      wrong.push(`account ${account.plan.index}: not told, ${told}`);
      continue;
    }
    const own = charges.filter(({ accountId }) => accountId === account.id).map(({ id }) => id);
    const isSame = told.size === own.length && own.every((id) => told.has(id));
    if (!isSame) wrong.push(`account ${account.plan.index}: told of ${told.size} charges, has ${own.length}`);
  }
  return tell('calls-told-wrong', wrong, (text) => text);
}

async function readTold({ world, wire }: Storm, key: string): Promise<Set<string>> {
  const told = new Set<string>();
  const base = world.fleet.near(0)?.url ?? '';
  let cursor: string | undefined = '';
  while (cursor !== undefined) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const headers = { authorization: `Bearer ${key}` };
    const { text } = await wire.get(`${base}/v1/calls?limit=100${query}`, {
      headers,
      patienceMs: PATIENCE_MS,
    });
    const page = JSON.parse(text) as { calls: { receipt_id: string | null }[]; next_cursor?: string };
    for (const { receipt_id } of page.calls) if (receipt_id !== null) told.add(receipt_id);
    cursor = page.next_cursor;
  }
  return told;
}
