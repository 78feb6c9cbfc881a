import type { ServerFace } from '../../exchange.ts';
import { isObject, type JsonObject } from '../../json-lines.ts';
import type { Answer, Broken } from './ask.ts';
import { type Dialect, LEGACY_VERSION, MODERN_VERSION, OUR_INFO } from './envelope.ts';
import { judgeAnswer, type Refusal } from './judge.ts';
import type { Leash } from './leash.ts';
import { type Party, type RequestDeps, request, say } from './request.ts';
import type { Budget } from './send.ts';

export type Greeting =
  | { kind: 'greeted'; dialect: Dialect; face: ServerFace; versions: readonly string[] }
  | Refusal;

export type GreetInput = { party: Party; leash: Leash; capabilities: JsonObject };

const GREETING_BYTES_MAX = 1024 * 1024;
const UNSUPPORTED_VERSION = -32022;
/** These answers say nothing of an era: they would be given to any request. */
const SAYS_NOTHING = (status: number) =>
  (status >= 300 && status < 400) || [401, 403, 429].includes(status) || status >= 500;

/**
 * Finds out whether an endpoint is stateless (MCP 2026-07-28, "Discovery"). Undefined when it is of the time
 * before, where only `initialize` is understood.
 */
export async function discover(deps: RequestDeps, input: GreetInput): Promise<Greeting | undefined> {
  const { party, leash } = input;
  const dialect: Dialect = { era: 'modern', version: MODERN_VERSION };
  const asking = {
    party,
    dialect,
    leash,
    budget: newBudget(),
    request: { method: 'server/discover', params: {} },
  };
  const answer = await request(deps, asking);
  if (answer.kind === 'broken' && answer.reason !== 'protocol') return judgeRefusal(answer);
  if (answer.kind === 'status' && answer.error === undefined && SAYS_NOTHING(answer.status))
    return judgeRefusal(answer);
  if (answer.kind !== 'reply' || answer.reply.kind !== 'result') return undefined;
  const { result } = answer.reply;
  const versions = readVersions(result);
  if (!versions.includes(MODERN_VERSION)) return undefined;
  const meta = isObject(result._meta) ? result._meta : {};
  const info = meta['io.modelcontextprotocol/serverInfo'];
  return { kind: 'greeted', dialect, versions, face: toFace(result, info) };
}

/** Opens a conversation with an endpoint of the 2025 era (MCP 2025-11-25, "Lifecycle: Initialization"). */
export async function initialize(deps: RequestDeps, input: GreetInput): Promise<Greeting> {
  const { party, leash, capabilities } = input;
  const params = { protocolVersion: LEGACY_VERSION, capabilities, clientInfo: OUR_INFO };
  const asking = { party, leash, budget: newBudget(), request: { method: 'initialize', params } };
  const answer = await request(deps, { ...asking, dialect: undefined });
  const judged = judgeAnswer(answer);
  if (judged.kind === 'failed') return judged;
  if (judged.kind === 'error') return explainError(judged.code, judged.message);
  const version = judged.result.protocolVersion;
  if (typeof version !== 'string' || !/^\d{4}-\d{2}-\d{2}$/.test(version)) {
    return refuse('The server answered initialize without a protocolVersion.');
  }
  const sessionId = answer.kind === 'reply' ? answer.headers['mcp-session-id'] : undefined;
  if (sessionId !== undefined && !isSessionId(sessionId))
    return refuse('The server made an invalid Mcp-Session-Id.');
  const dialect: Dialect = { era: 'legacy', version, sessionId };
  // Whatever a server thinks of this: the next request shows whether it serves us.
  await say(deps, { ...asking, dialect }, { method: 'notifications/initialized' });
  return {
    ...{ kind: 'greeted', dialect, versions: [version] },
    face: toFace(judged.result, judged.result.serverInfo),
  };
}

const SESSION_ID_CHARACTERS_MAX = 1_024;

function isSessionId(value: unknown): value is string {
  return (
    typeof value === 'string' && value.length <= SESSION_ID_CHARACTERS_MAX && /^[\x21-\x7e]+$/.test(value)
  );
}

function readVersions({ supportedVersions }: JsonObject): string[] {
  if (!Array.isArray(supportedVersions)) return [];
  return supportedVersions.filter((version) => typeof version === 'string').slice(0, 32);
}

function toFace({ capabilities, instructions }: JsonObject, info: unknown): ServerFace {
  return {
    capabilities: isObject(capabilities) ? capabilities : {},
    info: isObject(info) ? info : {},
    ...(typeof instructions === 'string' ? { instructions } : {}),
  };
}

function explainError(code: number, message: string): Refusal {
  return refuse(
    code === UNSUPPORTED_VERSION
      ? 'The server speaks no revision of MCP that is spoken here.'
      : `The server refused initialize: ${message}`,
  );
}

function judgeRefusal(answer: Exclude<Answer, { kind: 'reply' }> | Broken): Refusal {
  const judged = judgeAnswer(answer);
  return judged.kind === 'failed' ? judged : refuse('The server refused server/discover.');
}

function refuse(detail: string): Refusal {
  return { kind: 'failed', reason: 'protocol', detail, isUnreachable: false };
}

function newBudget(): Budget {
  return { bytesMax: GREETING_BYTES_MAX, received: 0, decoded: 0 };
}
