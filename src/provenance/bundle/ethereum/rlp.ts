import { fromBytes, toBytes } from 'ox/Rlp';
import { check, refute } from '../refuted.ts';

/** A decoded value of the Recursive Length Prefix encoding (Ethereum yellow paper, appendix B). */
export type RlpItem = Uint8Array | readonly RlpItem[];

/** Reads one value of which there is one spelling: anything after it, and any longer spelling, is refuted. */
export function readRlp(bytes: Uint8Array, what: string): RlpItem {
  check(bytes.length > 0, `${what} is empty`);
  let item: RlpItem;
  let spelled: Uint8Array;
  try {
    item = toBytes(bytes);
    // The decoder is lenient, and what it is lenient about is spelled differently when it is written again.
    spelled = fromBytes(item as Uint8Array, { as: 'Bytes' });
  } catch {
    return refute(`${what} is not RLP`);
  }
  check(Buffer.compare(spelled, bytes) === 0, `${what} is not canonical RLP`);
  return item;
}

export function readRlpList(bytes: Uint8Array, what: string): readonly RlpItem[] {
  const item = readRlp(bytes, what);
  check(isRlpList(item), `${what} is not a list`);
  return item;
}

export function isRlpList(item: RlpItem | undefined): item is readonly RlpItem[] {
  return Array.isArray(item);
}

/** A whole number without leading zeros (yellow paper, appendix B). */
export function toRlpNumber(item: RlpItem | undefined, what: string): bigint {
  check(item instanceof Uint8Array && item.length <= 32 && item[0] !== 0, `${what} is not a number`);
  return item.length === 0 ? 0n : BigInt(`0x${Buffer.from(item).toString('hex')}`);
}
