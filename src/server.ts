import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { getRequestListener, type Http2Bindings, type HttpBindings } from '@hono/node-server';
import { hearOut } from './core/hear-out.ts';
import {
  createConnectionCount,
  createLoadGate,
  createPipelines,
  createReplies,
  createStalledReaders,
  createUnreadable,
  type LoadGate,
  MutedMessage,
  type Pipelines,
  READER_BOUNDS,
  type ReaderBounds,
  type Replies,
  type Reply,
  type RequestKind,
  refuseWith,
  replyBy,
  type StaticRefusal,
  spellRefusal,
} from './traffic/index.ts';

/** How long a head may take, and a whole request. */
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Longer than the minute after which load balancers drop idle connections, so that they do it and not we. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
/** What Node adds to it as well: who asks again at the last moment does not find us hanging up. */
const KEEP_ALIVE_GRACE_MS = 1_000;
/** All headers and the request line together. */
const HEAD_BYTES_MAX = 16 * 1024;
const HEADERS_MAX = 100;
/** Requests that one connection may have sent ahead of their answers. */
const PIPELINED_MAX = 64;
/**
 * Connections that wait to be taken; the system has a limit of its own. Beyond it the client believes that it is
 * connected, and its request is lost for seconds.
 */
const BACKLOG = 4_096;
const SWEEP_MS = 2_000;
const LOOP_SAMPLE_MS = 100;
/** Longer than a call that waits for a place, runs, and settles. */
const DRAIN_MS = 60_000;
const DRAIN_ROUND_MS = 250;
/** What has not said a word for so long after the drain began has none on its way. */
const DRAIN_SILENT_MS = 1_000;

export type Bindings = HttpBindings | Http2Bindings;
export type Fetch = (request: Request, env: Bindings) => Response | Promise<Response>;

export type ServerOptions = {
  connectionsMax?: number;
  connectionsPerAddressMax?: number;
  inFlightMax?: number;
  /** 0 switches the guard off. */
  loopDelayMaxMs?: number;
  isTrustedProxy?(address: string): boolean;
  /** Answers a request without the app, or leaves it to it: true when it did. */
  direct?(reply: Reply): boolean;
  /** For tests, which cannot wait for a minute. */
  headersTimeoutMs?: number;
  requestTimeoutMs?: number;
  readers?: ReaderBounds;
};

/** The HTTP server around an app: what it refuses, it refuses before the app, and mostly before the body. */
export function createServer(fetch: Fetch, options: ServerOptions = {}): Server {
  const gate = createLoadGate({
    inFlightMax: options.inFlightMax ?? 2_048,
    loopDelayMaxMs: options.loopDelayMaxMs ?? 500,
  });
  // Without a host a request of HTTP/1.0 is still one: load balancers ask for our health so.
  const listener = getRequestListener((request, env) => gate.work(() => fetch(request, env)), {
    hostname: 'localhost',
  });
  const server: Server = createHttpServer({
    IncomingMessage: MutedMessage,
    maxHeaderSize: HEAD_BYTES_MAX,
    headersTimeout: options.headersTimeoutMs ?? HEADERS_TIMEOUT_MS,
    requestTimeout: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: Math.min(SWEEP_MS, options.headersTimeoutMs ?? SWEEP_MS),
    insecureHTTPParser: false,
  });
  // Node would drop what is too many and serve the rest: a request is refused as a whole.
  server.maxHeadersCount = 0;
  const replies = createReplies({
    offer(reply) {
      if (!options.direct || draining.has(server) || !gate.enter('plain')) return false;
      if (options.direct(reply)) return true;
      gate.leave();
      return false;
    },
    close: gate.leave,
    idleMs: KEEP_ALIVE_TIMEOUT_MS + KEEP_ALIVE_GRACE_MS,
  });
  const pipelines = createPipelines(PIPELINED_MAX, replies);
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse, isExpected: boolean) => {
    if (replies.claims(incoming, outgoing)) return;
    const { socket } = incoming;
    // An answer would have nobody to go to: what was asked is not done, and nobody pays for it.
    if (outgoing.socket ? !socket.writable : pipelines.isEnding(socket)) return;
    const refusal = refuse(incoming, outgoing, { gate, pipelines });
    if (draining.has(server)) outgoing.shouldKeepAlive = false;
    if (refusal) refuseWith(refusal, incoming, outgoing);
    if (!outgoing.shouldKeepAlive) pipelines.end(socket);
    if (refusal) return;
    if (isExpected) outgoing.writeContinue();
    outgoing.once('close', gate.leave);
    if (!options.direct?.(replyBy(incoming, outgoing))) void listener(incoming, outgoing);
  };
  server.on('request', (incoming, outgoing) => answer(incoming, outgoing, false));
  // Who asks first whether to send the body is not told to send one that is refused.
  server.on('checkContinue', (incoming, outgoing) => answer(incoming, outgoing, true));
  const unreadable = createUnreadable();
  server.on('clientError', (error, socket: Socket) => {
    unreadable.refuse(socket, error, pipelines.pending(socket));
    pipelines.end(socket);
  });
  guardConnections(server, { gate, pipelines, replies }, options);
  return server;
}

/** What a gateway at its limit says. */
const BUSY = spellRefusal(503, {
  ...{ type: 'unavailable', title: 'Not available right now' },
  detail: 'The gateway has as much to do as it can. Send the same again shortly.',
});
const MANY_HEADERS = spellRefusal(431, {
  ...{ type: 'malformed-request', title: 'The request cannot be read' },
  detail: `A request has ${HEADERS_MAX} headers at most.`,
});

const PROBES = /^\/(?:v1\/health|ready|metrics)(?:\?|$)/;
const CREDENTIAL = /^(?:payment|l402|lsat)\s/i;

function refuse(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { gate, pipelines }: { gate: LoadGate; pipelines: Pipelines },
): StaticRefusal | undefined {
  if (incoming.rawHeaders.length > 2 * HEADERS_MAX) {
    outgoing.shouldKeepAlive = false;
    return MANY_HEADERS;
  }
  // It has no socket yet: an earlier one of its connection is still to be answered.
  if (!outgoing.socket && !pipelines.enter(incoming.socket, outgoing)) {
    outgoing.shouldKeepAlive = false;
    return BUSY;
  }
  if (gate.enter('plain') || gate.enter(kindOf(incoming))) return undefined;
  return BUSY;
}

/** Whoever shows a credential, or a name to repeat a call under, may have paid before. MCP has both in its body. */
function kindOf({ url = '', headers }: IncomingMessage): RequestKind {
  if (PROBES.test(url)) return 'probe';
  const isPaid =
    headers['idempotency-key'] !== undefined ||
    headers['payment-signature'] !== undefined ||
    headers['x-payment'] !== undefined ||
    headers['payment-authorization'] !== undefined ||
    CREDENTIAL.test(headers.authorization ?? '');
  return isPaid ? 'maybe-paid' : 'plain';
}

/** What ends connections: too many of them, readers that do not read, and the delay of the event loop as it is. */
function guardConnections(
  server: Server,
  { gate, pipelines, replies }: { gate: LoadGate; pipelines: Pipelines; replies: Replies },
  options: ServerOptions,
): void {
  const count = createConnectionCount({
    connectionsMax: options.connectionsMax ?? 10_000,
    connectionsPerAddressMax: options.connectionsPerAddressMax ?? 2_000,
    isTrustedProxy: options.isTrustedProxy ?? (() => false),
  });
  const readers = createStalledReaders(options.readers);
  const sockets = new Set<Socket>();
  const spoken = new WeakSet<Socket>();
  let idleClosedAtMs = 0;
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const entry = count.enter(address);
    if (entry !== 'entered') {
      // Who says nothing gives way to who does; once a second, as it looks at all of them.
      if (entry === 'full' && performance.now() - idleClosedAtMs > 1_000) {
        idleClosedAtMs = performance.now();
        closeIdle(server, sockets);
      }
      socket.end(BUSY.raw);
      socket.destroySoon();
      return;
    }
    sockets.add(socket);
    // A supervisor has read its first words, and put them back.
    if (socket.readableLength > 0) spoken.add(socket);
    replies.watch(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      count.leave(address);
      pipelines.abandon(socket);
    });
  });
  open.set(server, { sockets, spoken, pipelines });
  const sweepMs = Math.min(SWEEP_MS, (options.readers ?? READER_BOUNDS).stallMs / 2);
  const sweep = setInterval(() => readers.sweep(sockets, performance.now()), sweepMs);
  let expectedMs = performance.now() + LOOP_SAMPLE_MS;
  const sample = setInterval(() => {
    const now = performance.now();
    gate.noteDelay(now - expectedMs);
    expectedMs = now + LOOP_SAMPLE_MS;
  }, LOOP_SAMPLE_MS);
  sweep.unref();
  sample.unref();
  server.once('close', () => {
    clearInterval(sweep);
    clearInterval(sample);
  });
}

/** The connections of each server of this process, and the servers that take no more. */
const open = new WeakMap<Server, Open>();
type Open = { sockets: ReadonlySet<Socket>; spoken: WeakSet<Socket>; pipelines: Pipelines };
const draining = new WeakSet<Server>();

/** Resolves with the port. */
export function listen(server: Server, address: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () => {
      const bound = server.address();
      resolve(typeof bound === 'object' && bound ? bound.port : address.port);
    });
  });
}

/**
 * Hears out what came before, takes no new connection, lets requests under way finish, and gives up on them after a
 * bound. Every answer by then says that it is its connection's last, so that no client sends another request into a
 * closing one.
 */
export async function drain(server: Server): Promise<void> {
  await hearOut(server);
  draining.add(server);
  const { sockets = new Set<Socket>(), spoken, pipelines } = open.get(server) ?? {};
  for (const socket of sockets) sayLast(socket, pipelines);
  return new Promise((resolve) => {
    const from = performance.now();
    const round = setInterval(() => {
      closeIdle(server, sockets);
      // Node does not call those idle that never said anything.
      const isSilent = (socket: Socket) => socket.bytesRead === 0 && !spoken?.has(socket);
      if (performance.now() - from > DRAIN_SILENT_MS) closeSilent([...sockets].filter(isSilent), pipelines);
    }, DRAIN_ROUND_MS);
    const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
    // Not HTTP's own close: it ends idle connections at once, and a request may be on its way on one of them.
    NetServer.prototype.close.call(server, () => {
      clearInterval(round);
      clearTimeout(timer);
      resolve();
    });
  });
}

function closeSilent(sockets: readonly Socket[], pipelines: Pipelines | undefined): void {
  for (const socket of sockets) if (!pipelines?.pending(socket).length) socket.destroy();
}

/** Node's `_httpMessage` of a connection that is busy with an answer: it closes none of those. */
const SENDING = Object.freeze({ finished: false });

/** To Node a connection is idle when its answer is ended, though half of it may wait here for a slow reader. */
function closeIdle(server: Server, sockets: ReadonlySet<Socket>): void {
  const sending = [...sockets].filter(({ writableLength }) => writableLength > 0) as HttpSocket[];
  const messages = sending.map((socket) => socket._httpMessage);
  for (const socket of sending) socket._httpMessage = SENDING;
  server.closeIdleConnections();
  for (const [index, socket] of sending.entries()) socket._httpMessage = messages[index];
}

type HttpSocket = Socket & { _httpMessage?: object | null | undefined };

/** The newest answer of the connection, as those that wait before it still have to come. */
function sayLast(socket: Socket, pipelines: Pipelines | undefined): void {
  const answer = pipelines?.pending(socket).at(-1);
  if (!answer || answer.headersSent) return;
  answer.shouldKeepAlive = false;
  pipelines?.end(socket);
}
