import { decode } from 'light-bolt11-decoder';
import { sha256Hex } from '../../../core/bytes.ts';
import type { Limits } from '../budget.ts';
import type { Challenged, Payable, Payer } from '../payer.ts';

export type LightningPayerOptions = {
  /** Pays the invoice and returns its preimage, hex. It may wait until a held payment is settled. */
  payInvoice: (invoice: string, signal: AbortSignal) => Promise<string>;
} & (
  | {
      /** The price of one bitcoin in millicents ($65,000 is 6_500_000_000n): the dollar limits apply. */
      millicentsPerBitcoin: () => bigint | Promise<bigint>;
    }
  | {
      /** Without a rate, limits of their own in satoshis apply. */
      satLimits: Limits;
    }
);

const MSAT_PER_SAT = 1_000n;
const MSAT_PER_BITCOIN = 100_000_000_000n;
/** BOLT 11: how long an invoice lives that does not say so. */
const INVOICE_SECONDS = 3_600;

/** Pays by L402 (LSAT is its former name): the invoice first, the preimage as the proof. */
export function lightningPayer(options: LightningPayerOptions): Payer {
  return {
    rail: 'lightning',
    satLimits: 'satLimits' in options ? options.satLimits : undefined,
    async list(challenged) {
      const challenge = readChallenge(challenged.headers.get('www-authenticate') ?? '');
      const invoice = challenge && readInvoice(challenge.invoice, challenged);
      if (!invoice) return [];
      const mcents = 'satLimits' in options ? undefined : await priceOf(options, invoice.msat);
      if (mcents === undefined && !('satLimits' in options)) return [];
      return [toPayable(options, challenge, invoice, mcents)];
    },
  };
}

type Challenge = { scheme: string; token: string; invoice: string };
type Invoice = { msat: bigint; paymentHash: string };

function toPayable(
  { payInvoice }: LightningPayerOptions,
  { scheme, token, invoice }: Challenge,
  { msat, paymentHash }: Invoice,
  mcents: bigint | undefined,
): Payable {
  const header = (preimage: string) => ({ name: 'Authorization', value: `${scheme} ${token}:${preimage}` });
  return {
    rail: 'lightning',
    units: (msat + MSAT_PER_SAT - 1n) / MSAT_PER_SAT,
    unit: 'sat',
    mcents,
    reference: paymentHash,
    movesMoney: true,
    async pay(signal) {
      const preimage = (await payInvoice(invoice, signal)).toLowerCase();
      if (!/^[0-9a-f]{64}$/.test(preimage) || sha256Hex(Buffer.from(preimage, 'hex')) !== paymentHash) {
        throw new Error('the wallet returned a preimage that is not the one of the invoice');
      }
      return header(preimage);
    },
    question: header(''),
  };
}

/** Undefined when the rate is not to be had: then Lightning is not a way to pay now. */
async function priceOf(
  { millicentsPerBitcoin }: { millicentsPerBitcoin: () => bigint | Promise<bigint> },
  msat: bigint,
): Promise<bigint | undefined> {
  const rate = await Promise.resolve()
    .then(millicentsPerBitcoin)
    .catch(() => 0n);
  return rate > 0n ? (msat * rate + MSAT_PER_BITCOIN - 1n) / MSAT_PER_BITCOIN : undefined;
}

/** L402, protocol-specification.md: the parameters of the first such challenge in a header of several. */
function readChallenge(header: string): Challenge | undefined {
  const start = /(?:^|,)\s*(L402|LSAT)\s+/i.exec(header.replaceAll(/"[^"]*"/g, blank));
  if (!start) return undefined;
  const parameters = new Map<string, string>();
  const pattern = /\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))/y;
  pattern.lastIndex = start.index + start[0].length;
  for (let match = pattern.exec(header); match; match = pattern.exec(header)) {
    const [, name = '', quoted, bare] = match;
    parameters.set(name.toLowerCase(), quoted ?? bare ?? '');
  }
  const [token, invoice] = [parameters.get('token') ?? parameters.get('macaroon'), parameters.get('invoice')];
  if (!token || !invoice || !/^[A-Za-z0-9+/_=.-]+$/.test(token)) return undefined;
  return { scheme: start[1]?.toUpperCase() ?? 'L402', token, invoice };
}

/** As many characters as before, and none of them a scheme. */
function blank(quoted: string): string {
  return '"'.repeat(quoted.length);
}

/** An invoice for a fixed amount that has not expired; the wallet checks its signature and network. */
function readInvoice(text: string, { now }: Challenged): Invoice | undefined {
  try {
    let [msat, paymentHash, issuedAt, lifetime] = [0n, '', 0, INVOICE_SECONDS];
    for (const section of decode(text).sections) {
      if (section.name === 'amount') msat = BigInt(section.value);
      else if (section.name === 'payment_hash') paymentHash = section.value;
      else if (section.name === 'timestamp') issuedAt = section.value;
      else if (section.name === 'expiry') lifetime = section.value;
    }
    const isAlive = (issuedAt + lifetime) * 1_000 > now.getTime();
    return msat > 0n && /^[0-9a-f]{64}$/.test(paymentHash) && isAlive ? { msat, paymentHash } : undefined;
  } catch {
    // No invoice of ours to pay; another way may still be.
    return undefined;
  }
}
