import { canonicalJson } from '../core/canonical-json.ts';
import { refuseDnsName } from '../core/dns-name.ts';

/** The one file of a self-hosted server's code: what is hashed and logged in place of the code that we do not have. */
export const ENDPOINT_FILE = 'millicent-endpoint.json';

export const ENDPOINT_CHARACTERS_MAX = 2_000;

const PORT = /^(?:[1-9]\d{0,4})$/;

export function endpointFiles(endpointUrl: string): ReadonlyMap<string, Buffer> {
  return new Map([[ENDPOINT_FILE, Buffer.from(canonicalJson({ endpoint_url: endpointUrl }))]]);
}

/** Why a text is no endpoint that calls could be sent to; undefined when it is one, in its one spelling. */
export function refuseEndpoint(
  text: string,
  { allowsLoopback }: { allowsLoopback: boolean },
): string | undefined {
  if (!/^https?:\/\/[\x21-\x7e]+$/.test(text) || !URL.canParse(text)) return 'must be an https:// URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'must not hold a user name or password';
  if (text.includes('#')) return 'must not have a fragment';
  const isLoopback = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  if (!(isLoopback && allowsLoopback)) {
    if (url.protocol !== 'https:') return 'must be an https:// URL';
    const why = refuseDnsName(url.hostname);
    if (why !== undefined || url.hostname.startsWith('[')) {
      return 'must name a public host such as "mcp.example.com", and no address';
    }
  }
  if (url.href !== text)
    return `must be written in the one way that it is compared by: ${JSON.stringify(url.href)}`;
  return undefined;
}

/** Why a text is no host that a tool may declare, `name` or `name:port`; undefined when it is one. */
export function refuseHost(text: string): string | undefined {
  const colon = text.indexOf(':');
  const [name, port] = colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
  if (port !== undefined && (!PORT.test(port) || Number(port) > 65_535)) {
    return 'is no host such as "api.example.com" or "api.example.com:8443"';
  }
  return refuseDnsName(name);
}
