import { type Hex, keccak256, toRlp } from 'viem';
import { z } from 'zod';

const hex = z.custom<Hex>((value) => typeof value === 'string' && /^0x[0-9a-fA-F]*$/.test(value));

/** The fields that every header has, in their order (yellow paper, section 4.4). */
const HEAD = [
  ...['parentHash', 'sha3Uncles', 'miner', 'stateRoot', 'transactionsRoot', 'receiptsRoot', 'logsBloom'],
  ...['difficulty', 'number', 'gasLimit', 'gasUsed', 'timestamp', 'extraData', 'mixHash', 'nonce'],
];

/** What hard forks have added since, each at the end: EIPs 1559, 4895, 4844 (two), 4788, 7685 and 7928. */
const ADDED = [
  ...['baseFeePerGas', 'withdrawalsRoot', 'blobGasUsed', 'excessBlobGas'],
  ...['parentBeaconBlockRoot', 'requestsHash', 'blockAccessListHash'],
];

/** Spelled without leading zeros. */
const QUANTITIES = new Set([
  ...['difficulty', 'number', 'gasLimit', 'gasUsed', 'timestamp'],
  ...['baseFeePerGas', 'blobGasUsed', 'excessBlobGas'],
]);

const blockSchema = z.record(z.string(), z.unknown());

/**
 * The RLP of a header, rebuilt from the fields of `eth_getBlockByHash`, whose keccak256 is the hash; undefined when
 * there is no such spelling, for example on a chain whose headers hold more than its nodes tell. Fields at the end
 * are left out one by one: nodes also answer fields that are not part of their headers.
 */
export function rebuildHeader(block: unknown, blockHash: string): Hex | undefined {
  const fields = blockSchema.safeParse(block);
  if (!fields.success) return undefined;
  const head = HEAD.map((name) => spell(name, fields.data[name]));
  const added = ADDED.map((name) => spell(name, fields.data[name])).filter((item) => item !== undefined);
  const known = head.filter((item) => item !== undefined);
  if (known.length < HEAD.length) return undefined;
  for (let count = added.length; count >= 0; count -= 1) {
    const header = toRlp([...known, ...added.slice(0, count)]);
    if (keccak256(header) === blockHash) return header;
  }
  return undefined;
}

function spell(name: string, value: unknown): Hex | undefined {
  const parsed = hex.safeParse(value);
  if (!parsed.success) return undefined;
  if (!QUANTITIES.has(name)) return parsed.data;
  const digits = parsed.data.slice(2).replace(/^0+/, '');
  return `0x${digits.length % 2 === 0 ? '' : '0'}${digits}`;
}
