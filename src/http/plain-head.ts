/** What a plain request says of itself, without the object that Node makes of its headers: that costs as much again. */
export type PlainHead = { authorization: string | undefined; requestId: string | undefined };

/** Headers that say nothing about the call, and the key's own. No wire has its credential in any of them. */
const PLAIN = [
  ...['Host', 'Connection', 'User-Agent', 'Accept', 'Accept-Encoding', 'Accept-Language', 'Sec-Fetch-Mode'],
  ...['Authorization', 'X-Request-Id', 'Traceparent', 'Tracestate', 'Cache-Control', 'Pragma'],
  ...['Forwarded', 'Via', 'X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Proto'],
  'X-Real-Ip',
];
/** A bit for each, by both ways in which clients usually write its name. */
const BITS = new Map(
  PLAIN.flatMap((name, at) =>
    [name, name.toLowerCase()].map((spelled): [string, number] => [spelled, 1 << at]),
  ),
);
const bitOf = (name: string): number => BITS.get(name) ?? BITS.get(name.toLowerCase()) ?? 0;
const HOST = bitOf('host');
const AUTHORIZATION = bitOf('authorization');
const REQUEST_ID = bitOf('x-request-id');
/** The hosts that the adaptor takes as they are; it parses others, and refuses some. */
const PLAIN_HOST = /^[a-z0-9._-]+(?::(?:[1-5]\d{3,4}|[6-9]\d{3}))?$/;

/** Of names and values in turns, as they came; none where a header is not plain, or came twice. */
export function readPlainHead(rawHeaders: readonly string[]): PlainHead | undefined {
  const head: PlainHead = { authorization: undefined, requestId: undefined };
  let host = '';
  let seen = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const bit = bitOf(rawHeaders[at] ?? '');
    if (bit === 0 || (seen & bit) !== 0) return undefined;
    seen |= bit;
    if (bit === HOST) host = rawHeaders[at + 1] ?? '';
    else if (bit === AUTHORIZATION) head.authorization = rawHeaders[at + 1];
    else if (bit === REQUEST_ID) head.requestId = rawHeaders[at + 1];
  }
  return PLAIN_HOST.test(host) ? head : undefined;
}
