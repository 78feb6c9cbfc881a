const ALPHABET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];

/** A regtest invoice (BOLT 11) whose signature nobody made: wallets check it, decoders do not. */
export function makeInvoice(terms: { sats?: bigint; paymentHash: string; issuedAt: Date }): string {
  // 1 satoshi is 10 nano-bitcoin.
  const amount = terms.sats === undefined ? '' : `${terms.sats * 10n}n`;
  const prefix = `lnbcrt${amount}`;
  const words = [
    ...toWords(BigInt(Math.floor(terms.issuedAt.getTime() / 1_000)), 7),
    ...tagged('p', fromBytes(Buffer.from(terms.paymentHash, 'hex'))),
    ...tagged('d', fromBytes(Buffer.from('one call', 'utf8'))),
    // Expires after an hour.
    ...tagged('x', toWords(3_600n, 3)),
    ...new Array<number>(104).fill(0),
  ];
  const text = [...words, ...checksum(prefix, words)].map((word) => ALPHABET[word]).join('');
  return `${prefix}1${text}`;
}

function tagged(tag: string, words: number[]): number[] {
  return [ALPHABET.indexOf(tag), words.length >> 5, words.length & 31, ...words];
}

function toWords(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, index) =>
    Number((value >> BigInt(5 * (count - 1 - index))) & 31n),
  );
}

function fromBytes(bytes: Buffer): number[] {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{1,5}/g) ?? []).map((word) => Number.parseInt(word.padEnd(5, '0'), 2));
}

/** Bech32, BIP 173. */
function checksum(prefix: string, words: number[]): number[] {
  const codes = [...prefix].map((character) => character.charCodeAt(0));
  const expanded = [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)];
  const value = polymod([...expanded, ...words, 0, 0, 0, 0, 0, 0]) ^ 1;
  return Array.from({ length: 6 }, (_, index) => (value >> (5 * (5 - index))) & 31);
}

function polymod(values: number[]): number {
  return values.reduce((sum, value) => {
    const top = sum >> 25;
    const shifted = ((sum & 0x1ffffff) << 5) ^ value;
    return GENERATOR.reduce((next, term, bit) => ((top >> bit) & 1 ? next ^ term : next), shifted);
  }, 1);
}
