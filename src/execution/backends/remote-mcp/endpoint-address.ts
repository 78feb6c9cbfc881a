import { isIP } from 'node:net';
import { isPublicAddress } from '../../policy/public-address.ts';

export type EndpointReading = { kind: 'ok'; url: URL } | { kind: 'refused'; detail: string };

export type AddressPolicy = {
  /** The development switch: `http` and addresses of this machine are served. */
  allowLoopback: boolean;
  /** Our own public address, which no endpoint may lead back to. */
  ownUrl?: string | undefined;
};

const URL_CHARACTERS_MAX = 2_048;

/** An endpoint's address as it may be called, before any name is resolved; `detail` says how to mend it. */
export function readEndpoint(text: string, policy: AddressPolicy): EndpointReading {
  if (text.length > URL_CHARACTERS_MAX) return refuse(`is longer than ${URL_CHARACTERS_MAX} characters`);
  const url = parseUrl(text);
  if (url === undefined) return refuse('is not an absolute URL');
  const isLocal = policy.allowLoopback && isLoopbackName(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal))
    return refuse('must begin with https://');
  if (url.username !== '' || url.password !== '') return refuse('must not hold a user name or password');
  if (url.hash !== '') return refuse('must not hold a fragment (#)');
  if (REFUSED_PORTS.has(url.port)) return refuse(`names port ${url.port}, which is not one for HTTP`);
  const literal = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(literal) !== 0 && !isCallableAddress(literal, policy)) {
    return refuse('names an address that is not of the open Internet');
  }
  if (policy.ownUrl !== undefined && url.origin === parseUrl(policy.ownUrl)?.origin) {
    return refuse('leads back to this gateway');
  }
  return { kind: 'ok', url };
}

/** Whether a socket may be connected to an address (RFC 6890). */
export function isCallableAddress(address: string, { allowLoopback }: AddressPolicy): boolean {
  return isPublicAddress(address) || (allowLoopback && isLoopbackAddress(address));
}

export function isLoopbackAddress(address: string): boolean {
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));
}

/**
 * The ports that browsers refuse (WHATWG Fetch, "port blocking") and those of common databases and daemons: a
 * request to them would be read as something else than HTTP.
 */
const REFUSED_PORTS = new Set(
  [
    ...[
      1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    ],
    ...[
      109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389, 427, 445, 465, 512,
    ],
    ...[
      513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 992, 993, 994,
    ],
    ...[995, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 5060],
    ...[
      5061, 5432, 5672, 6000, 6379, 6380, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 9092, 10080,
    ],
    ...[10250, 11211, 26257, 27017, 27018, 27019],
  ].map(String),
);

function isLoopbackName(hostname: string): boolean {
  return hostname === 'localhost' || isLoopbackAddress(hostname.replace(/^\[|\]$/g, ''));
}

function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

function refuse(why: string): EndpointReading {
  return { kind: 'refused', detail: `The endpoint's address ${why}.` };
}
