const NAME_CHARACTERS_MAX = 253;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names that never lead into the open Internet (RFC 6761, RFC 6762, RFC 9476, and ICANN's `internal`). */
const PRIVATE_ENDINGS = new Set([
  'localhost',
  'local',
  'internal',
  'onion',
  'test',
  'invalid',
  'alt',
  'arpa',
]);

/**
 * Why a text is not the name of one host of the open Internet, spelled in the one way we compare; undefined when it
 * is. International names come in their ASCII form (RFC 5891, "xn--").
 */
export function refuseDnsName(name: string): string | undefined {
  if (name.includes('*')) return 'has a wildcard; name each host';
  if (/[^\x21-\x7e]/.test(name)) return 'is not ASCII; write it in its "xn--" form';
  if (name !== name.toLowerCase()) return 'is not in lower case';
  const labels = name.split('.');
  const last = labels.at(-1) ?? '';
  // What the URL standard takes for an IPv4 address ends in a number, of whatever base.
  if (name.includes(':') || /^(?:\d+|0x[0-9a-f]*)$/.test(last)) return 'is an address; name the host';
  if (name.length > NAME_CHARACTERS_MAX || !labels.every((label) => LABEL.test(label))) {
    return 'is no host name such as "api.example.com"';
  }
  if (labels.length < 2 || PRIVATE_ENDINGS.has(last)) return 'is not a public host name';
  return undefined;
}
