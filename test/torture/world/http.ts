import { Agent, request } from 'undici';

/** One connection pool for all that the storm sends: what is killed at the other end is found out per request. */
export type Wire = {
  post(url: string, body: unknown, options: SendOptions): Promise<{ status: number; text: string }>;
  get(url: string, options: SendOptions): Promise<{ status: number; text: string }>;
  close(): Promise<void>;
};

export type SendOptions = { headers?: Record<string, string>; patienceMs: number };

const CONNECTIONS = 128;

export function createWire(): Wire {
  const dispatcher = new Agent({ connections: CONNECTIONS });
  const ask = async (url: string, method: 'GET' | 'POST', body: unknown, options: SendOptions) => {
    const answer = await request(url, {
      ...{ dispatcher, method, signal: AbortSignal.timeout(options.patienceMs) },
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...options.headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, text: await answer.body.text() };
  };
  return {
    post: (url, body, options) => ask(url, 'POST', body, options),
    get: (url, options) => ask(url, 'GET', undefined, options),
    close: () => dispatcher.destroy(),
  };
}
