import type { Jail } from './backend.ts';
import type { ClientFace, Exchange, ServerFace } from './exchange.ts';
import { type Era, type Faces, type Greeting, shakeHands, toEraParams } from './handshake.ts';
import { isObject } from './json-lines.ts';
import type { Break, Request } from './json-rpc.ts';
import { createNotifications } from './notifications.ts';
import type { FailureReason } from './outcome.ts';
import { createServerRequests } from './server-requests.ts';
import { openStdioChannel } from './stdio-channel.ts';

/** On whose behalf a server is spoken to. */
export type SessionInput = Pick<Exchange, 'client' | 'events' | 'logLevel'> & { outputBytesMax: number };

/** One conversation with one MCP server over stdio, on behalf of a client. */
export type McpSession = {
  /** Shakes hands; must come first. `first` is the era to try first. */
  greet(first: Era): Promise<Greeting | Break>;
  /** Goes on in the stateless era, which a server that is known to speak it needs no handshake for. */
  skipGreeting(): void;
  /** What the server said of itself. */
  face(): ServerFace;
  /** Asks and waits; one request at a time. */
  request: Request;
  /** Ends the conversation because nobody waits for it any more; the server is told. */
  cancel(): void;
  /** Ends the conversation for a reason from outside; the request that waits is answered with it. */
  end(reason: FailureReason, detail: string): void;
  /** How it broke, if it did; also after the last answer. */
  broken(): Break | undefined;
  /** Whether the server ever wrote a message. */
  hasSpoken(): boolean;
  stderrTail(): string;
};

/** Who asks when no client is behind us; it offers nothing. */
const OURSELVES: ClientFace = {
  protocolVersion: '2025-11-25',
  capabilities: {},
  info: { name: 'millicent', version: '1' },
};

/** Opens a conversation with the server in a jail. */
export function openMcpSession(
  jail: Pick<Jail, 'stdin' | 'stdout' | 'stderr'>,
  input: SessionInput,
): McpSession {
  const { events, logLevel } = input;
  const faces = toFaces(input);
  let greeting: Greeting = { kind: 'greeted', era: 'initialize', face: { capabilities: {}, info: {} } };
  let isLevelSet = false;
  const notifications = createNotifications(events);
  const channel = openStdioChannel(jail, input.outputBytesMax, {
    onNotification(notification, bytes) {
      const { method, params } = notification;
      const { requestId } = params;
      if (method !== 'notifications/cancelled') return notifications.hear(notification, bytes);
      if (typeof requestId === 'string' || typeof requestId === 'number') questions.cancel(requestId);
    },
    onRequest: (request) => questions.answer(request),
    onEnd: () => questions.close(),
  });
  const questions = createServerRequests(channel.send, {
    events,
    capabilities: faces.initialize.capabilities,
  });

  /** A new server knows nothing of a level that its client set with an earlier one. */
  const setLevel = async () => {
    const isWanted = logLevel !== undefined && greeting.era === 'initialize' && !isLevelSet;
    if (!isWanted || !isObject(greeting.face.capabilities.logging)) return undefined;
    isLevelSet = true;
    const reply = await channel.request('logging/setLevel', { level: logLevel });
    return reply.kind === 'broken' ? reply : undefined;
  };
  return {
    async greet(first) {
      const reply = await shakeHands(channel, faces, first);
      if (reply.kind === 'greeted') greeting = reply;
      return channel.broken() ?? reply;
    },
    skipGreeting: () => {
      greeting = { ...greeting, era: 'stateless' };
    },
    face: () => greeting.face,
    async request(method, params) {
      const refusal = await setLevel();
      if (refusal !== undefined) return refusal;
      const asked = toEraParams(params, { era: greeting.era, faces, logLevel });
      notifications.listen(isObject(asked._meta) ? asked._meta.progressToken : undefined);
      try {
        return await channel.request(method, asked);
      } finally {
        notifications.mute();
      }
    },
    cancel() {
      const requestId = channel.waitingId();
      if (requestId !== undefined) {
        const params = { requestId, reason: 'The client no longer waits.' };
        channel.send({ method: 'notifications/cancelled', params });
      }
      channel.end('cancelled', 'The call was cancelled.');
    },
    end: channel.end,
    broken: channel.broken,
    hasSpoken: channel.hasSpoken,
    stderrTail: channel.stderrTail,
  };
}

const ASKABLE = ['sampling', 'elicitation', 'roots'];

/**
 * Of what a client offers, what a conversation of one call can hand to it, because a server must not wait in
 * vain: it asks by a request in one era, and by a result in the other.
 */
function toFaces({ client = OURSELVES, events }: SessionInput): Faces {
  const askable = Object.fromEntries(
    Object.entries(client.capabilities).filter(([name]) => ASKABLE.includes(name)),
  );
  return {
    initialize: { ...client, capabilities: events?.ask ? askable : {} },
    stateless: { ...client, capabilities: events?.needInput ? askable : {} },
  };
}
