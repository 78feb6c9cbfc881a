import type { IncomingMessage, ServerResponse } from 'node:http';

/** A refusal that costs next to nothing: the same bytes for everyone, made once. */
export type StaticRefusal = {
  status: number;
  headers: readonly string[];
  body: Buffer;
  /** The whole answer, for a connection that nothing is read from. */
  raw: Buffer;
};

export function spellRefusal(
  status: number,
  { type, ...fields }: { type: string; title: string; detail: string },
): StaticRefusal {
  const document = { type: `https://millicent.dev/problems/${type}`, ...fields, status, ok: false };
  const body = Buffer.from(JSON.stringify({ ...document, note: 'no charge applied' }));
  const pairs: [string, string][] = [
    ['content-type', 'application/problem+json'],
    ['content-length', String(body.length)],
    ['cache-control', 'no-store'],
    ['access-control-allow-origin', '*'],
    ['access-control-expose-headers', 'Retry-After'],
  ];
  if (status === 503) pairs.push(['retry-after', '1']);
  const lines = pairs.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const head = `HTTP/1.1 ${status} ${fields.title}\r\n${lines}connection: close\r\n\r\n`;
  return { status, headers: pairs.flat(), body, raw: Buffer.concat([Buffer.from(head), body]) };
}

/** More of a body that nobody wants is not read on: its connection ends. */
const DISCARDED_BYTES_MAX = 64 * 1024;

/** Answers without having read the body. */
export function refuseWith(
  { status, headers, body }: StaticRefusal,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): void {
  const isEndless = incoming.headers['transfer-encoding'] !== undefined;
  const bytes = Number(incoming.headers['content-length'] ?? 0);
  if (isEndless || bytes > DISCARDED_BYTES_MAX) outgoing.shouldKeepAlive = false;
  outgoing.writeHead(status, [...headers]);
  outgoing.end(incoming.method === 'HEAD' ? undefined : body);
}
