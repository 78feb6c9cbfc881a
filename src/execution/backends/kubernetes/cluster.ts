import type { IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as sendHttps } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { timeLimit } from '../../../core/time-limit.ts';
import { ApiFault, explainRefusal } from './api-fault.ts';
import { type Authority, readAuthority } from './authority.ts';

export type ApiRequest = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the server's address, such as `/api/v1/namespaces/tools/pods`. */
  path: string;
  query?: Readonly<Record<string, string>>;
  body?: object;
  timeoutMs?: number;
};

/** The API server of one cluster, spoken to with what a kubeconfig says (Kubernetes API concepts). */
export type Cluster = {
  /** For the log. */
  readonly server: string;
  /** The text of the answer. Waits and asks again when told to (429); throws an `ApiFault` for other refusals. */
  ask(request: ApiRequest, signal: AbortSignal): Promise<string>;
  /** An answer that goes on, such as a watch. */
  listen(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage>;
  /** A WebSocket that is open. */
  connect(request: ConnectRequest, signal: AbortSignal): Promise<WebSocket>;
  /** Milliseconds since 1970 by the API server's clock, which need not agree with ours. */
  now(): number;
  close(): void;
};

export type ConnectRequest = {
  path: string;
  query: Readonly<Record<string, string>>;
  protocols: readonly string[];
  /** Hears what comes from the first message on, which may be before the caller has the socket. */
  onMessage(data: Buffer): void;
};

const REQUEST_TIMEOUT_MS = 15_000;
const ATTEMPTS_MAX = 5;
const RETRY_AFTER_MS_MAX = 5_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const MESSAGE_BYTES_MAX = 4 * 1024 * 1024;

/** Reaches a cluster as a kubeconfig says. Throws in words for the operator when it cannot be read. */
export async function openCluster(kubeconfigPath: string | undefined): Promise<Cluster> {
  const authority = await readAuthority(kubeconfigPath);
  const { server } = authority;
  let clockAheadMs = 0;
  const send = async (asked: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> => {
    const answer = await sendRequest(authority, asked, signal);
    const date = Date.parse(answer.headers.date ?? '');
    if (!Number.isNaN(date)) clockAheadMs = date - Date.now();
    return answer;
  };
  return {
    server,
    async ask(asked, signal) {
      for (let attempt = 1; ; attempt += 1) {
        const limit = timeLimit(signal, asked.timeoutMs ?? REQUEST_TIMEOUT_MS);
        const answer = await send(asked, limit);
        const text = await readText(answer);
        const status = answer.statusCode ?? 0;
        if (status >= 200 && status < 300) return text;
        const fault = explainRefusal(status, text, answer.headers['retry-after']);
        // 429 is said before anything was done (API Priority and Fairness), so it is safe to ask again.
        if (status !== 429 || attempt === ATTEMPTS_MAX) throw fault;
        await sleep(Math.min(fault.retryAfterMs, RETRY_AFTER_MS_MAX), undefined, { signal });
      }
    },
    async listen(asked, signal) {
      const answer = await send(asked, signal);
      if (answer.statusCode === 200) return answer;
      throw explainRefusal(answer.statusCode ?? 0, await readText(answer), answer.headers['retry-after']);
    },
    connect: (asked, signal) => openSocket(authority, asked, signal),
    now: () => Date.now() + clockAheadMs,
    close: () => authority.close(),
  };
}

async function sendRequest(
  { server, authorize }: Authority,
  asked: ApiRequest,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const options = await authorize();
  const body = asked.body === undefined ? undefined : JSON.stringify(asked.body);
  const headers = {
    ...{ ...options.headers, accept: 'application/json' },
    ...(body !== undefined && {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    }),
  };
  return new Promise((resolve, reject) => {
    const request = sendHttps(addressOf(server, asked), {
      ...options,
      headers,
      method: asked.method,
      signal,
    });
    request.once('response', resolve).once('error', reject).end(body);
  });
}

async function openSocket(
  { server, authorize }: Authority,
  { path, query, protocols, onMessage }: ConnectRequest,
  signal: AbortSignal,
): Promise<WebSocket> {
  const { agent, ...options } = await authorize();
  const socket = new WebSocket(addressOf(server, { path, query }).replace(/^http/, 'ws'), [...protocols], {
    ...options,
    // A pool's agent would hand out connections that requests wait for; a proxy's has to be used.
    ...(agent.constructor !== HttpsAgent && { agent }),
    handshakeTimeout: REQUEST_TIMEOUT_MS,
    perMessageDeflate: false,
    maxPayload: MESSAGE_BYTES_MAX,
  });
  socket.on('message', (data) => {
    if (Buffer.isBuffer(data)) onMessage(data);
  });
  await opened(socket, signal);
  return socket;
}

function addressOf(server: string, { path, query = {} }: Pick<ApiRequest, 'path' | 'query'>): string {
  const parameters = new URLSearchParams(query).toString();
  return `${server}${path}${parameters === '' ? '' : `?${parameters}`}`;
}

async function readText(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of answer) {
    bytes += piece.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error('the API server answered too much');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

async function opened(socket: WebSocket, signal: AbortSignal): Promise<void> {
  const abort = () => socket.terminate();
  signal.addEventListener('abort', abort, { once: true });
  try {
    if (signal.aborted) abort();
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('the connection to the pod was closed')));
      socket.once('unexpected-response', (_request, answer) => {
        readText(answer)
          .then((text) => reject(explainRefusal(answer.statusCode ?? 0, text, undefined)), reject)
          .finally(() => socket.terminate());
      });
    });
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof ApiFault ? error : new Error('the pod could not be attached to', { cause: error });
  } finally {
    signal.removeEventListener('abort', abort);
    // What breaks later is told by `close`.
    socket.on('error', () => {});
  }
}
