import type { Log } from '../../../core/log.ts';
import type { Wire } from '../../wire.ts';
import { v2 } from './v2.ts';
import type { X402Version } from './version.ts';

/** The versions spoken, newest first; a further one is one more file and one more name here. */
const VERSIONS: readonly X402Version[] = [v2];

/** The wire of the x402 protocol over HTTP headers, scheme `exact` with EIP-3009 authorizations. */
export function createX402Wire(deps: { log: Log }): Wire {
  return {
    name: 'x402',
    challenge(input) {
      const parts = VERSIONS.map((version) => version.challenge(input)).filter((part) => part !== undefined);
      if (parts.length === 0) return undefined;
      return {
        headers: parts.flatMap((part) => part.headers),
        body: Object.assign({}, ...parts.map((part) => part.body)),
      };
    },
    read(carried) {
      for (const version of VERSIONS) {
        const header = carried.header(version.credentialHeader);
        if (header === undefined) continue;
        const reading = version.read(header);
        if (reading.kind === 'malformed') {
          deps.log.debug({ reason: reading.reason, chars: header.length }, 'a malformed x402 credential');
        }
        return reading;
      }
      return undefined;
    },
    receipt: (input) => VERSIONS.flatMap((version) => version.receipt(input)),
  };
}
