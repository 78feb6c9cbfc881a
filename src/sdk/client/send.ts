import { timeLimit } from '../../core/time-limit.ts';
import { RequestRefusedError } from './errors.ts';

/** A request that can be sent any number of times: its body is bytes. */
export type Outgoing = {
  url: URL;
  method: string;
  headers: Headers;
  body: Uint8Array<ArrayBuffer> | undefined;
  signal: AbortSignal;
};

export type HeaderPairs = readonly (readonly [name: string, value: string])[];

/** A response, and the request that it answers: another one than was asked for, after a redirect. */
export type Sent = { response: Response; request: Outgoing };

export type SendDeps = {
  fetch: typeof globalThis.fetch;
  isAllowed(url: URL): boolean;
  attemptTimeoutMs: number;
};

const REDIRECTS_MAX = 3;
const CONTENT_HEADERS = ['content-type', 'content-length', 'content-encoding'];

/** Takes fetch's arguments apart once, and keeps the body. */
export async function readOutgoing(input: string | URL | Request, init?: RequestInit): Promise<Outgoing> {
  const request = new Request(input, init);
  const body = request.body === null ? undefined : new Uint8Array(await request.arrayBuffer());
  const { method, headers, signal } = request;
  return { url: new URL(request.url), method, headers, body, signal };
}

/** Refuses, before anything leaves, a host that the caller has not named. */
export function assertAllowed(deps: SendDeps, url: URL): void {
  if (deps.isAllowed(url)) return;
  throw new RequestRefusedError('host', `the host ${url.host} is not one of those allowed`);
}

/**
 * Sends a request once. A redirect is followed on the same origin only, and not at all when the request
 * carries a payment: what is signed for one address must not be shown at another.
 */
export async function send(
  deps: SendDeps,
  outgoing: Outgoing,
  extra: { headers: HeaderPairs; isPaid: boolean },
): Promise<Sent> {
  const headers = new Headers(outgoing.headers);
  for (const [name, value] of extra.headers) headers.set(name, value);
  let { url, method, body } = outgoing;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
    const signal = timeLimit(outgoing.signal, deps.attemptTimeoutMs);
    const response = await deps.fetch(url, {
      ...{ method, headers, signal, redirect: 'manual' },
      ...(body === undefined ? {} : { body }),
    });
    const location = response.headers.get('location');
    if (!isRedirect(response.status) || location === null) {
      return { response, request: { ...outgoing, url, method, body } };
    }
    await response.body?.cancel();
    const next = new URL(location, url);
    if (next.origin !== url.origin || extra.isPaid) {
      const reason = extra.isPaid ? 'a request that carries a payment is not redirected' : 'another origin';
      throw new RequestRefusedError('redirect', `redirect from ${url.host} to ${next.host}: ${reason}`);
    }
    if (response.status !== 307 && response.status !== 308) {
      // What fetch does: a form that was sent is not sent on.
      if (method !== 'GET' && method !== 'HEAD') method = 'GET';
      body = undefined;
      for (const name of CONTENT_HEADERS) headers.delete(name);
    }
    url = next;
  }
  throw new RequestRefusedError('too-many-redirects', `more than ${REDIRECTS_MAX} redirects`);
}

function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}
