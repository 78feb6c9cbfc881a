import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Log } from '../../core/log.ts';
import { ADD_CHECKPOINT, ADD_CHECKPOINT_BYTES_MAX, SIZE_TYPE } from './add-checkpoint.ts';
import type { Witness, WitnessAnswer } from './witness.ts';

export type WitnessServerDeps = { witness: Witness; log: Log };
export type ListenOn = { host: string; port: number };
export type WitnessServer = { url: string; close(): Promise<void> };

type Reply = { status: number; type: string; body: string; headers?: Record<string, string> };

/** How long a request may take to arrive; a checkpoint is a few hundred bytes. */
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 256;
/** How long a request under way may still take once the server is told to stop. */
const DRAIN_MS = 5_000;
const TEXT = 'text/plain; charset=utf-8';

/** Serves a witness (C2SP tlog-witness) under one prefix for both submission and monitoring. */
export async function serveWitness(deps: WitnessServerDeps, on: ListenOn): Promise<WitnessServer> {
  const server = createServer(
    {
      ...{ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
      ...{ keepAliveTimeout: 60_000, connectionsCheckingInterval: 1_000 },
    },
    (request, response) => void handle(deps, request, response),
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(on.port, on.host, resolve);
  });
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : on.port;
  const host = on.host.includes(':') ? `[${on.host}]` : on.host;
  return { url: `http://${host}:${port}`, close: () => close(server) };
}

async function handle(
  { witness, log }: WitnessServerDeps,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    send(response, await route(witness, request));
  } catch (cause) {
    // A client that went away in the middle of its body has no use for an answer.
    if (request.destroyed && !request.complete) return;
    log.error({ err: cause }, 'a checkpoint could not be cosigned');
    send(response, { status: 500, type: TEXT, body: 'something broke here\n' });
  }
}

async function route(witness: Witness, request: IncomingMessage): Promise<Reply> {
  const path = request.url ?? '';
  if (path === ADD_CHECKPOINT) {
    if (request.method !== 'POST') return refuse(405, 'checkpoints are sent with POST', { allow: 'POST' });
    const body = await readBody(request);
    if (!body)
      return refuse(413, `a body has ${ADD_CHECKPOINT_BYTES_MAX} bytes at most`, { connection: 'close' });
    return spell(await witness.addCheckpoint(body));
  }
  const originHash = /^\/([0-9a-f]{64})\/checkpoint$/.exec(path)?.[1];
  if (originHash === undefined) return refuse(404, 'there is no such thing');
  if (request.method !== 'GET') return refuse(405, 'checkpoints are read with GET', { allow: 'GET' });
  const note = await witness.readCheckpoint(originHash);
  return note === undefined
    ? refuse(404, 'no checkpoint of that log was cosigned')
    : { status: 200, type: TEXT, body: note };
}

function spell(answer: WitnessAnswer): Reply {
  switch (answer.kind) {
    case 'cosigned':
      return { status: 200, type: TEXT, body: answer.signatures };
    case 'conflict':
      return { status: 409, type: SIZE_TYPE, body: `${answer.treeSize}\n` };
    case 'malformed':
      return refuse(400, answer.reason);
    case 'untrusted':
      return refuse(403, answer.reason);
    case 'unknown-log':
      return refuse(404, answer.reason);
    case 'inconsistent':
      return refuse(422, answer.reason);
    default:
      return answer satisfies never;
  }
}

function refuse(status: number, reason: string, headers: Record<string, string> = {}): Reply {
  return { status, type: TEXT, body: `${reason}\n`, headers };
}

function send(response: ServerResponse, { status, type, body, headers }: Reply): void {
  response.writeHead(status, {
    ...{ 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' },
    ...headers,
  });
  response.end(body);
}

/** Undefined when it is too long; rejects when it stops in the middle. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > ADD_CHECKPOINT_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function close(server: Server): Promise<void> {
  const isClosed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const force = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
  await isClosed;
  clearTimeout(force);
}
