import { Problem } from '../../core/problem.ts';
import { timeLimit } from '../../core/time-limit.ts';
import type { ServerEvents } from '../../execution/index.ts';
import {
  answerEarlierCall,
  type BuiltInServer,
  type CallInput,
  demandPayment,
  digestCall,
  type PaidCallAnswer,
  paidCall,
  paymentHeaders,
  refuseOtherBuiltIn,
  refuseOtherTools,
  resolveSale,
  type Sale,
  toDemand,
} from '../../gateway/index.ts';
import type { Carried } from '../../payments/index.ts';
import { clientSignal, watchDelivery } from '../answer.ts';
import { carriedBy } from '../payment.ts';
import { answerProblem } from '../problems.ts';
import { readToolsHash } from '../tools-hash.ts';
import { createClientEvents } from './client-events.ts';
import {
  carryMeta,
  dropClaims,
  dropPaymentKeys,
  isHttpPayer,
  offersPage,
  type PageReturn,
  type PersonAsked,
  receiptMeta,
  spellPaymentRequired,
  spellProblem,
  stripMeta,
  takePageReturn,
  takesAsPass,
} from './dialects/index.ts';
import { invalidParams, isObject, type JsonObject, type RpcError } from './json-rpc.ts';
import { refuseParamMismatch } from './mirrored-headers.ts';
import type { Reply } from './reply.ts';
import {
  allowsNetwork,
  answerWith,
  logLevelOf,
  type McpDeps,
  type McpRequest,
  progressTokenOf,
  withoutEnvelope,
} from './request.ts';
import { portray } from './served.ts';
import { spellError, statusOf } from './server-error.ts';

/** What waits for a place and starts a server comes on top of a run's own time. */
const RUN_SLACK_MS = 30_000;
const KEY_CHARACTERS_MAX = 255;

/** `tools/call` (MCP, "Tools: Calling Tools"): sold, run and answered like a call over `/invoke`. */
export async function callTool(deps: McpDeps, asked: McpRequest): Promise<Reply> {
  const { request, served, meta, c } = asked;
  const { name, arguments: given = {} } = request.params;
  if (typeof name !== 'string') throw invalidParams('name is the name of a tool.');
  if (!isObject(given)) throw invalidParams('arguments is an object.');
  const tool = portray(served).tools.find((candidate) => candidate.name === name);
  const expectToolsHash = readToolsHash([
    meta?.['millicent/expect-tools-hash'],
    c.req.header('expect-tools-hash'),
  ]);
  // A tool that is gone is the plainest change of all, and whoever expected other tools is told of that.
  if (served.kind === 'built-in') refuseOtherBuiltIn(served.server, expectToolsHash);
  else if (!tool) refuseOtherTools(served.listing, expectToolsHash);
  if (!tool) throw invalidParams(`Unknown tool: ${name.slice(0, 128)}`);
  if (asked.client.era === '2026') {
    refuseParamMismatch((header) => c.req.header(header), tool.inputSchema, given);
  }
  const paying = {
    principal: asked.principal,
    carried: carryMeta(carriedBy(deps, c), meta),
    idempotencyKey: readIdempotencyKey(asked),
    wantsReceipt:
      meta?.['millicent/want-receipt'] === true || /\breceipt\b/i.test(c.req.header('prefer') ?? ''),
  };
  if (served.kind === 'built-in') return callBuiltIn(asked, served.server, { name, input: given, paying });
  const told: { input?: JsonObject; error?: RpcError } = {};
  const { further, returned } = takePageReturn(deps.pages, readFurther(asked));
  const call = toCall(deps, asked, {
    ...{ server: served.listing.server.id, version: pinnedVersion(asked), tool: name, arguments: given },
    ...{ further, told, expectToolsHash },
  });
  const client = () => clientSignal(c);
  const unpaid: Unpaid = { hasOutputSchema: tool.outputSchema !== undefined, further, returned };
  try {
    const answer = await resolveSale(deps, call).then(
      (sale) => {
        unpaid.sale = sale;
        return paidCall(deps, { ...paying, sale: cancellable(sale, asked.cancelled) }, client);
      },
      (cause: unknown) => answerEarlierCall(deps, { ...paying, call, cause }, client),
    );
    if (!(answer instanceof Problem)) return tellDelivered(deps, asked, paying.carried, answer);
    return tellPaymentRequired(deps, asked, answer, unpaid);
  } catch (cause) {
    if (!(cause instanceof Problem)) throw cause;
    // It asked for something instead of delivering: nothing was charged, and this is its answer. Where money has
    // moved, the way back to it is the answer.
    if (told.input && cause.options.isUncharged) return answerWith(asked, toQuestion(told.input));
    if (told.error && cause.options.isUncharged) return answerRefusal(asked, told.error);
    if (cause.type === 'payment-required') return tellPaymentRequired(deps, asked, cause, unpaid);
    if (!unpaid.sale || !takesAsPass(cause, { carried: carriedBy(deps, c), meta })) throw cause;
    const demand = toDemand(unpaid.sale, paying.carried);
    return tellPaymentRequired(deps, asked, await demandPayment(deps, demand), unpaid);
  }
}

/** What a call that was not paid needs to ask for it. */
type Unpaid = {
  hasOutputSchema: boolean;
  further: JsonObject | undefined;
  returned: PageReturn | undefined;
  sale?: Sale;
};

/** The server's own refusal of the protocol; who asked was not charged. */
function answerRefusal({ client }: McpRequest, error: RpcError): Reply {
  const spelled = spellError(client, error);
  const status = statusOf(client.era, spelled.code);
  return { kind: 'answer', answer: { error: spelled }, status };
}

/** The members of an `InputRequiredResult`: an answer that costs nothing has no room for content. */
function toQuestion({ resultType, inputRequests, requestState, _meta }: JsonObject): JsonObject {
  return dropClaims({
    ...(resultType === undefined ? {} : { resultType }),
    ...(inputRequests === undefined ? {} : { inputRequests }),
    ...(requestState === undefined ? {} : { requestState }),
    ...(_meta === undefined ? {} : { _meta }),
  });
}

type Paying = Omit<Parameters<typeof paidCall>[1], 'sale'>;

async function callBuiltIn(
  asked: McpRequest,
  server: BuiltInServer,
  { name, input, paying }: { name: string; input: JsonObject; paying: Paying },
): Promise<Reply> {
  const result = await server.call(name, input, { ...paying, client: () => clientSignal(asked.c) });
  return answerWith(asked, { ...result });
}

type Wanted = Pick<CallInput, 'server' | 'tool' | 'arguments' | 'version' | 'expectToolsHash'> & {
  further: JsonObject | undefined;
  told: { input?: JsonObject; error?: RpcError };
};

function toCall(deps: McpDeps, asked: McpRequest, { told, further, ...wanted }: Wanted): CallInput {
  const { client, sink, over, meta } = asked;
  const logLevel = logLevelOf(deps, asked);
  const events: ServerEvents = {
    ...createClientEvents({
      ...{ client, sink, over, logLevel, asks: deps.asks, progressToken: progressTokenOf(meta) },
    }),
    refuse(error) {
      told.error = error;
    },
  };
  const needInput = (input: JsonObject) => {
    told.input = input;
  };
  return {
    ...wanted,
    allowNetwork: allowsNetwork(asked),
    mcp: {
      client: client.face,
      events: client.era === '2026' ? { ...events, needInput } : events,
      meta: withoutEnvelope(stripMeta(meta)),
      further,
      logLevel,
    },
  };
}

/** What the client brings back of what an earlier answer asked for (MCP 2026-07-28, `InputRequiredResult`). */
function readFurther({ client, request }: McpRequest): JsonObject | undefined {
  const { inputResponses, requestState } = request.params;
  if (client.era !== '2026' || (inputResponses === undefined && requestState === undefined)) return undefined;
  return {
    ...(inputResponses === undefined ? {} : { inputResponses }),
    ...(requestState === undefined ? {} : { requestState }),
  };
}

/** A version that the caller pinned is part of what is hashed; one that it did not is none of it. */
export function pinnedVersion({ c, meta }: Pick<McpRequest, 'c' | 'meta'>): string | undefined {
  const named = meta?.['millicent/version'];
  return typeof named === 'string' ? named : c.req.query('version');
}

/** What nobody pays for ends when nobody waits for it; what is paid goes on (MONEY.md, rule 6). */
function cancellable(sale: Sale, cancelled: AbortSignal): Sale {
  return {
    ...sale,
    run(signal, terms) {
      if (terms.paidBy !== 'nobody') return sale.run(signal, terms);
      return sale.run(timeLimit(cancelled, sale.runTimeoutMs + RUN_SLACK_MS), terms);
    },
  };
}

function tellDelivered(deps: McpDeps, asked: McpRequest, carried: Carried, answer: PaidCallAnswer): Reply {
  const { claim } = answer;
  const headers = claim ? paymentHeaders(deps, claim, carried) : [];
  if (claim) watchDelivery(deps, asked.c, claim);
  const result = isObject(answer.result) ? answer.result : {};
  const meta = isObject(result._meta) ? dropPaymentKeys(result._meta) : {};
  const reply = answerWith(asked, { ...result, _meta: { ...meta, ...receiptMeta(headers, answer) } });
  return reply.kind === 'answer' ? { ...reply, headers } : reply;
}

function tellPaymentRequired(deps: McpDeps, asked: McpRequest, problem: Problem, unpaid: Unpaid): Reply {
  const { c, client, meta } = asked;
  const { era } = client;
  const requestId = c.env.requestId ?? '';
  const spelling = spellPaymentRequired(problem, {
    ...{ era, meta, requestId, capabilities: client.face.capabilities },
    hasOutputSchema: unpaid.hasOutputSchema,
    isHttpPayer: isHttpPayer(carriedBy(deps, c)),
    person: toPersonAsked(deps, asked, unpaid),
  });
  switch (spelling.kind) {
    case 'result':
      return answerWith(asked, spelling.result);
    case 'error': {
      const { code, message, data } = spelling;
      return { kind: 'answer', answer: { error: { code, message, data } } };
    }
    case 'http':
      return {
        kind: 'http',
        response: answerProblem(deps.log, problem, c),
        otherwise: { result: spellProblem(problem, { era, requestId }) },
      };
    default:
      return spelling satisfies never;
  }
}

function toPersonAsked(
  deps: McpDeps,
  { principal }: McpRequest,
  { sale, further, returned }: Unpaid,
): PersonAsked | undefined {
  if (!sale || !offersPage(deps)) return undefined;
  const { server, tool } = sale.request;
  return {
    ...{ pages: deps.pages, publicUrl: deps.settings.publicUrl, server, tool, further, returned },
    ...{ amount: sale.price, accountId: principal?.accountId },
    requestDigest: sale.digest ?? digestCall(sale.request),
  };
}

function readIdempotencyKey({ c, meta }: McpRequest): string | undefined {
  const [told, header] = [meta?.['millicent/idempotency-key'], c.req.header('idempotency-key')];
  const key = told ?? header;
  if (key === undefined) return undefined;
  // Which one a repetition would come with is nobody's guess, and the other would pay again.
  if (header !== undefined && header !== key) throw invalidParams('Two different idempotency keys came.');
  if (typeof key === 'string' && key.length >= 1 && key.length <= KEY_CHARACTERS_MAX) return key;
  throw invalidParams(`An idempotency key is a text of 1 to ${KEY_CHARACTERS_MAX} characters.`);
}
