import { lookup as lookupAddresses } from 'node:dns/promises';
import type { LookupFunction, Socket } from 'node:net';
import { buildConnector } from 'undici';
import { type AddressPolicy, isCallableAddress, isLoopbackAddress } from './endpoint-address.ts';

/** The addresses of a host name. */
export type Resolve = (hostname: string) => Promise<{ address: string; family: number }[]>;

/** Why no connection was made, in words that a caller may read. */
export class RefusedAddress extends Error {}

export type ConnectorOptions = AddressPolicy & {
  resolve?: Resolve | undefined;
  connectTimeoutMs: number;
  /** Certificates to believe besides those of the system, as PEM. */
  ca?: string | undefined;
};

/**
 * Connects to nothing but addresses that were checked: names are resolved here, all their addresses are looked
 * at, the socket goes to one of them, and who is at its other end is checked once more when it is connected.
 * A name that resolves differently the next time (DNS rebinding) is checked anew with each connection.
 */
export function createConnector(options: ConnectorOptions): buildConnector.connector {
  const { connectTimeoutMs, ca } = options;
  const resolve = options.resolve ?? resolveBySystem;
  const connectTo = (protocol: string) =>
    buildConnector({
      timeout: connectTimeoutMs,
      allowH2: false,
      lookup: createLookup(resolve, (address) => isAllowed(address, protocol, options)),
      ...(ca === undefined ? {} : { ca }),
    });
  const [connectSecurely, connectPlainly] = [connectTo('https:'), connectTo('http:')];
  return (target, callback) => {
    const connect = target.protocol === 'https:' ? connectSecurely : connectPlainly;
    connect(target, (...[error, socket]) => {
      if (error !== null) return callback(error, null);
      const address = addressOf(socket);
      if (isAllowed(address, target.protocol, options)) return callback(null, socket);
      socket.destroy();
      return callback(new RefusedAddress(REFUSAL), null);
    });
  };
}

const REFUSAL = 'The endpoint resolves to an address that is not of the open Internet.';

/** Without TLS only this machine itself is spoken to. */
function isAllowed(address: string, protocol: string, policy: AddressPolicy): boolean {
  return isCallableAddress(address, policy) && (protocol === 'https:' || isLoopbackAddress(address));
}

/** One bad address among good ones is refused as well: who answers so has something in mind. */
function createLookup(resolve: Resolve, isAllowed: (address: string) => boolean): LookupFunction {
  return (hostname, { all }, callback) => {
    resolve(hostname).then(
      (addresses) => {
        const [first] = addresses;
        if (first === undefined) return callback(new RefusedAddress('The endpoint has no address.'), '');
        if (!addresses.every(({ address }) => isAllowed(address))) {
          return callback(new RefusedAddress(REFUSAL), '');
        }
        return all ? callback(null, addresses) : callback(null, first.address, first.family);
      },
      (error: Error) => callback(error, ''),
    );
  };
}

function resolveBySystem(hostname: string): ReturnType<Resolve> {
  return lookupAddresses(hostname, { all: true });
}

/** A socket that was closed already has no address, and none is allowed. */
function addressOf(socket: Socket): string {
  return (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}
