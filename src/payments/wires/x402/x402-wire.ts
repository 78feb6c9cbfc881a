import type { Log } from '../../../core/log.ts';
import type { Carried, Wire } from '../../wire.ts';
import type { SignStatement } from './offer-receipt.ts';
import { createTemplates } from './template.ts';
import { createV1, type X402Network } from './v1.ts';
import { v2 } from './v2.ts';
import type { X402Version } from './version.ts';

export type X402WireDeps = {
  log: Log;
  /** The tokens that are taken, in the order of offers; without any, version 1 is not spoken. */
  networks?: readonly X402Network[];
  /** Signs the receipts of the extension "offer-receipt"; without it none are issued. */
  signStatement?: SignStatement;
};

/** The wire of the x402 protocol over HTTP, scheme `exact` with EIP-3009 authorizations. */
export function createX402Wire(deps: X402WireDeps): Wire {
  const versions = listVersions(deps.networks ?? []);
  const templateOf = createTemplates(versions);
  const versionOf = (carried: Carried) =>
    versions.find(({ credentialHeader }) => carried.header(credentialHeader) !== undefined);
  return {
    name: 'x402',
    challenge({ offers, quote: { resource }, quoteToken, refusal }) {
      const template = templateOf({ offers, resource, refusal });
      return template && { headers: template.headers(quoteToken), body: template.body };
    },
    prepare: ({ offers, resource }) => templateOf({ offers, resource, refusal: undefined }),
    read(carried) {
      const version = versionOf(carried);
      const header = version && carried.header(version.credentialHeader);
      if (header === undefined) return undefined;
      const reading = version?.read(header);
      if (reading?.kind === 'malformed') {
        deps.log.debug({ reason: reading.reason, chars: header.length }, 'a malformed x402 credential');
      }
      return reading;
    },
    // A client reads the receipt of the version it paid by.
    receipt: (input) =>
      ((input.carried && versionOf(input.carried)) ?? v2).receipt(input, deps.signStatement),
  };
}

/**
 * The versions spoken, newest first; a further one is one more file and one more name here. Older ones come
 * last because they have only the body of a 402, and the last to write it is read.
 */
function listVersions(networks: readonly X402Network[]): readonly X402Version[] {
  return networks.length === 0 ? [v2] : [v2, createV1(networks)];
}
