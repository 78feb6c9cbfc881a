import { Problem } from '../core/problem.ts';
import type { Contracts } from './contracts.ts';
import { type ConversationDeps, converse } from './conversation.ts';
import type { Exchanged, RemoteServers, ServerFace, ServerRef } from './exchange.ts';
import type { Reply, Request } from './json-rpc.ts';
import type { Inspection } from './outcome.ts';
import type { HostedServer } from './place.ts';
import { hasUnstorableText, listTools, type ToolList } from './tool-list.ts';

/** A server may compile and import for the first time when it is published; its calls may not. */
const INSPECT_TIMEOUT_MS = 15_000;
const FACE_CHARACTERS_MAX = 64 * 1024;

/** Starts a hosted server once and reads what it says of itself and which tools it really offers. */
export async function inspectHosted(
  deps: ConversationDeps,
  contracts: Contracts,
  server: HostedServer,
  signal: AbortSignal,
): Promise<Inspection> {
  const runTimeoutMs = Math.max(server.limits.runTimeoutMs, INSPECT_TIMEOUT_MS);
  const patient = { ...server, limits: { ...server.limits, runTimeoutMs } };
  const ending = await converse(deps, { server: patient, mustGreet: true }, signal, async (session) => {
    const list = await listTools(session.request, contracts);
    return list.kind === 'broken' ? list : { list, face: session.face() };
  });
  const { stderr } = ending;
  // It was us who stopped it: that says nothing of the server.
  if (ending.kind === 'broken' && ending.reason === 'cancelled') throw stopped(ending.detail);
  if (ending.kind === 'broken') return { kind: 'refused', detail: ending.detail, stderr };
  return judge(ending.value.list, ending.value.face, stderr);
}

/** Asks a publisher's own server what it is and offers, and holds it to the same rules. */
export async function inspectRemote(
  remote: RemoteServers,
  contracts: Contracts,
  server: Extract<ServerRef, { kind: 'remote' }>,
  signal: AbortSignal,
): Promise<Inspection> {
  try {
    const face = await remote.greet(server, signal);
    const ask: Request = async (method, params) =>
      toReply(await remote.exchange({ server, request: { method, params } }, signal));
    const list = await listTools(ask, contracts);
    return list.kind === 'broken'
      ? { kind: 'refused', detail: list.detail, stderr: '' }
      : judge(list, face, '');
  } catch (error) {
    // What the endpoint did wrong is its publisher's to know; whatever else is thrown is ours.
    if (!(error instanceof Problem) || error.type !== 'tool-failed') throw error;
    return { kind: 'refused', detail: error.message, stderr: '' };
  }
}

function stopped(detail: string): Problem {
  return new Problem('unavailable', { detail, retryAfterSeconds: 5, isUncharged: true });
}

function toReply(answer: Exchanged): Reply {
  if (answer.kind === 'failed') return { kind: 'broken', reason: answer.reason, detail: answer.detail };
  const { runMs: _, ...reply } = answer;
  return reply;
}

function judge(list: ToolList, face: ServerFace, stderr: string): Inspection {
  if (list.kind === 'refused') return { ...list, stderr };
  const why = refuseFace(face);
  return why === undefined ? { ...list, face } : { kind: 'refused', detail: why, stderr };
}

/** What a server says of itself is stored with its version and told to every client. */
function refuseFace(face: ServerFace): string | undefined {
  if (JSON.stringify(face).length > FACE_CHARACTERS_MAX)
    return `The server says more than ${FACE_CHARACTERS_MAX} characters of itself.`;
  if (hasUnstorableText(face)) return 'What the server says of itself holds a NUL or half a surrogate pair.';
  return undefined;
}
