import { decode } from 'light-bolt11-decoder';
import type { LightningNetwork } from '../../rail.ts';

export type ReadInvoice = {
  /** 32 bytes, lower-case hex. */
  paymentHash: string;
  /** Undefined when the payer may choose. */
  msat: bigint | undefined;
  network: LightningNetwork;
  expiresAt: Date;
};

const NETWORKS: Record<string, LightningNetwork> = {
  bc: 'mainnet',
  tb: 'testnet',
  tbs: 'signet',
  bcrt: 'regtest',
};
/** BOLT 11: what an invoice without an expiry means. */
const EXPIRY_SECONDS_DEFAULT = 3_600;

/** What a BOLT 11 invoice says; throws when it is none. */
export function readInvoice(text: string): ReadInvoice {
  const { sections } = decode(text);
  const network = NETWORKS[sections.find((section) => section.name === 'coin_network')?.letters ?? ''];
  const hash = sections.find((section) => section.name === 'payment_hash')?.value;
  const timestamp = sections.find((section) => section.name === 'timestamp')?.value;
  const expiry = sections.find((section) => section.name === 'expiry')?.value;
  const msat = sections.find((section) => section.name === 'amount')?.value;
  if (network === undefined || hash === undefined || timestamp === undefined) {
    throw new Error('an invoice without a network, a payment hash or a time');
  }
  return {
    paymentHash: hash,
    msat: msat === undefined ? undefined : BigInt(msat),
    network,
    expiresAt: new Date((timestamp + (expiry ?? EXPIRY_SECONDS_DEFAULT)) * 1000),
  };
}
