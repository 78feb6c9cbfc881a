import { Hono } from 'hono';
import { z } from 'zod';
import type { Uuid } from '../../core/ids.ts';
import { toWireNumber } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import {
  answerEarlierCall,
  type BuiltInServer,
  type CallInput,
  type PaidCallAnswer,
  paidCall,
  refuseOtherBuiltIn,
  resolveSale,
  type Sale,
} from '../../gateway/index.ts';
import { type Principal, reachOf } from '../../keys/index.ts';
import { answerPaid, clientSignal } from '../answer.ts';
import { requirePrincipal } from '../auth.ts';
import { BODY_BYTES_MAX, jsonObject, readBody } from '../body.ts';
import { decodeCallCursor, encodeCallCursor } from '../cursor.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { readPayment } from '../payment.ts';
import { answerProblem } from '../problems.ts';
import { readToolsHash } from '../tools-hash.ts';

const callSchema = z.strictObject({
  tool: z.string().min(1).max(128),
  arguments: jsonObject.default({}),
  version: z.string().min(1).max(64).optional(),
  // The network consent, in a header's spelling or in that of our JSON.
  'allow-network': z.boolean().optional(),
  allow_network: z.boolean().optional(),
  'expect-tools-hash': z.string().optional(),
  expect_tools_hash: z.string().optional(),
});
const listSchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(50),
  cursor: z.string().optional(),
});

/** Calling the tools that publishers listed, and the list of what was called. */
export function callRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  app.post('/invoke/:id', async (c) => {
    const body = await readBody(c, callSchema, BODY_BYTES_MAX.call);
    const { tool, arguments: given, version } = body;
    const call = {
      tool,
      arguments: given,
      version,
      server: c.req.param('id'),
      allowNetwork: consents(c, body),
      expectToolsHash: readToolsHash([
        c.req.header('expect-tools-hash'),
        body['expect-tools-hash'],
        body.expect_tools_hash,
      ]),
    };
    const builtIn = deps.builtIns.find(call.server);
    if (builtIn) return callBuiltIn(deps, c, builtIn, call);
    const sale = await resolveSale(deps, call).catch((cause: unknown) => toEarlier(deps, c, call, cause));
    return sale instanceof Response ? sale : answerCall(deps, c, sale);
  });
  app.get('/v1/calls', async (c) => {
    const principal = await requirePrincipal(deps, c);
    const query = listSchema.safeParse(c.req.query());
    if (!query.success)
      throw new Problem('malformed-request', {
        detail: 'limit is 1 to 100; cursor is the next_cursor of the page before.',
      });
    const { limit, cursor } = query.data;
    const calls = await deps.ledger.calls({
      accountId: principal.accountId,
      keyIds: await callersOf(deps, principal),
      after: cursor === undefined ? undefined : decodeCallCursor(cursor),
      // One more than asked for tells whether there is a next page.
      rowsMax: limit + 1,
    });
    const page = calls.slice(0, limit);
    const last = calls.length > limit ? page.at(-1) : undefined;
    return c.json({
      ok: true,
      calls: page.map(toCallFields),
      ...(last ? { next_cursor: encodeCallCursor({ createdAt: last.position, id: last.id }) } : {}),
    });
  });
  return app;
}

/** Whose calls a key may see: all of its account for the first key, for a child its own and those below it. */
async function callersOf(deps: HttpDeps, principal: Principal): Promise<Uuid[] | undefined> {
  if (principal.ancestorIds.length === 0) return undefined;
  return (await deps.keys.list(reachOf(principal))).map(({ id }) => id);
}

/** A tool of the marketplace itself is free, and says in its result what it bought. */
async function callBuiltIn(
  deps: HttpDeps,
  c: Ctx,
  server: BuiltInServer,
  call: CallInput,
): Promise<Response> {
  refuseOtherBuiltIn(server, call.expectToolsHash);
  const payment = await readPayment(deps, c);
  const ctx = { ...payment, client: () => clientSignal(c) };
  return c.json({ ok: true, result: await server.call(call.tool, call.arguments, ctx), charged_mcents: 0 });
}

/** Whether the caller lets the tool reach the hosts that it declares (header `Allow-Network: true`, or in the body). */
function consents(c: Ctx, body: z.infer<typeof callSchema>): boolean {
  const header = c.req.header('allow-network');
  if (header !== undefined && header !== 'true' && header !== 'false') {
    throw new Problem('malformed-request', {
      detail: 'Allow-Network is "true" or "false".',
      isUncharged: true,
    });
  }
  return body['allow-network'] ?? body.allow_network ?? header === 'true';
}

async function answerCall(deps: HttpDeps, c: Ctx, sale: Sale): Promise<Response> {
  const input = { sale, ...(await readPayment(deps, c)) };
  const answer = await paidCall(deps, input, () => clientSignal(c));
  return answer instanceof Problem ? answerProblem(deps.log, answer, c) : toAnswer(deps, c, answer);
}

/** A call that cannot be sold now may have been paid for before; then that is answered, and not why it cannot. */
async function toEarlier(deps: HttpDeps, c: Ctx, call: CallInput, cause: unknown): Promise<Response> {
  const input = { ...(await readPayment(deps, c)), call, cause };
  return toAnswer(deps, c, await answerEarlierCall(deps, input, () => clientSignal(c)));
}

function toAnswer(deps: HttpDeps, c: Ctx, answer: PaidCallAnswer): Response {
  const body = {
    ok: true,
    result: answer.result,
    charged_mcents: toWireNumber(answer.charged),
    ...(answer.freeCallsLeft === undefined ? {} : { free_calls_left: answer.freeCallsLeft }),
    ...(answer.receiptId ? { receipt_id: answer.receiptId } : {}),
    ...(answer.receipt ? { receipt: answer.receipt } : {}),
    ...(answer.balance === undefined ? {} : { balance_mcents: toWireNumber(answer.balance) }),
  };
  return answer.claim ? answerPaid(deps, c, answer.claim, body) : c.json(body);
}

function toCallFields(
  call: Awaited<ReturnType<HttpDeps['ledger']['calls']>>[number],
): Record<string, unknown> {
  const isCharged = call.state === 'captured';
  return {
    id: call.id,
    tool: call.label,
    version_id: call.subject,
    state: call.state,
    price_mcents: toWireNumber(call.amount),
    charged_mcents: isCharged ? toWireNumber(call.amount) : 0,
    receipt_id: isCharged ? call.id : null,
    created_at: call.createdAt,
    closed_at: call.closedAt,
  };
}
