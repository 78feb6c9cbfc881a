import { sha256 } from '../../../../core/bytes.ts';

/** A block; its first transaction is the coinbase. */
export type Block = {
  height: number;
  hash: Uint8Array;
  /** Unix seconds. */
  time: number;
  header: Uint8Array;
  transactions: Uint8Array[];
};

export type BlockInput = { height: number; previous: Uint8Array; time: number; transactions: Uint8Array[] };

const SUBSIDY_SATS = 5_000_000_000n;
const HALVING_BLOCKS = 150;
/** Regtest's: every second hash is low enough. */
const BITS = 0x207fffff;
const FUNDING_FEE_SATS = 1_000n;
const OP_TRUE = Buffer.from([0x51]);
/** Anyone may spend it, and validly so: pay to the hash of the witness script `OP_TRUE`. */
const ANYONE_SCRIPT = Buffer.concat([Buffer.from([0x00, 0x20]), sha256(OP_TRUE)]);

/** Mines one block. */
export function makeBlock(input: BlockInput): Block {
  const { height, previous, time } = input;
  const transactions = [makeCoinbase(height), ...input.transactions];
  const header = Buffer.concat([
    u32(0x20000000),
    previous,
    toMerkleRoot(transactions.map(toTxid)),
    u32(time),
    u32(BITS),
    u32(0),
  ]);
  let hash = hashTwice(header);
  for (let nonce = 1; (hash[31] ?? 0) >= 0x80; nonce += 1) {
    header.writeUInt32LE(nonce, 76);
    hash = hashTwice(header);
  }
  return { height, hash, time, header, transactions };
}

/** The block as peers send it. */
export function serializeBlock(block: Block): Uint8Array {
  return new Uint8Array(
    Buffer.concat([block.header, compactSize(block.transactions.length), ...block.transactions]),
  );
}

/** Spends a coinbase of ours: to `script` what it wants, the rest back to anyone. */
export function makeFundingTransaction(input: {
  coinbase: Uint8Array;
  script: Uint8Array;
  sats: bigint;
}): Uint8Array {
  const { coinbase, script, sats } = input;
  const change = readFirstOutput(coinbase) - sats - FUNDING_FEE_SATS;
  if (change < 0n) throw new Error('one coin of the chain is not worth that much');
  return Buffer.concat([
    u32(2),
    Buffer.from([0, 1, 1]),
    toTxid(coinbase),
    u32(0),
    Buffer.from([0]),
    u32(0xfffffffd),
    Buffer.from([2]),
    output(sats, script),
    output(change, ANYONE_SCRIPT),
    Buffer.from([1, OP_TRUE.length]),
    OP_TRUE,
    u32(0),
  ]);
}

export function hashTwice(bytes: Uint8Array): Buffer {
  return sha256(sha256(bytes));
}

/** The id that inputs name a transaction by: its hash without witnesses, in the order of the wire. */
export function toTxid(transaction: Uint8Array): Buffer {
  return hashTwice(parseTransaction(Buffer.from(transaction)).stripped);
}

/** What a transaction spends, as `<txid>:<index>`. */
export function readOutpoints(transaction: Uint8Array): string[] {
  return parseTransaction(Buffer.from(transaction)).outpoints;
}

function parseTransaction(raw: Buffer): { stripped: Buffer; outpoints: string[] } {
  const hasWitness = raw[4] === 0 && raw[5] === 1;
  const start = hasWitness ? 6 : 4;
  let at = start;
  const readSize = () => {
    const first = raw.readUInt8(at);
    at += first < 0xfd ? 1 : 3;
    return first < 0xfd ? first : raw.readUInt16LE(at - 2);
  };
  const outpoints: string[] = [];
  for (let inputs = readSize(); inputs > 0; inputs -= 1) {
    outpoints.push(`${raw.toString('hex', at, at + 32)}:${raw.readUInt32LE(at + 32)}`);
    at += 36;
    const script = readSize();
    at += script + 4;
  }
  for (let outputs = readSize(); outputs > 0; outputs -= 1) {
    at += 8;
    const script = readSize();
    at += script;
  }
  const stripped = hasWitness
    ? Buffer.concat([raw.subarray(0, 4), raw.subarray(start, at), raw.subarray(raw.length - 4)])
    : raw;
  return { stripped, outpoints };
}

function readFirstOutput(coinbase: Uint8Array): bigint {
  const raw = Buffer.from(coinbase);
  // Version, one input with its outpoint, its short script and sequence, the count of outputs.
  return raw.readBigUInt64LE(4 + 1 + 36 + 1 + raw.readUInt8(41) + 4 + 1);
}

/** BIP 34: the height comes first, so that no two coinbases are alike. */
function makeCoinbase(height: number): Buffer {
  const script = Buffer.from([3, height & 0xff, (height >> 8) & 0xff, (height >> 16) & 0xff]);
  const subsidy = SUBSIDY_SATS >> BigInt(Math.floor(height / HALVING_BLOCKS));
  return Buffer.concat([
    u32(2),
    Buffer.from([1]),
    Buffer.alloc(32),
    u32(0xffffffff),
    compactSize(script.length),
    script,
    u32(0xffffffff),
    Buffer.from([1]),
    output(subsidy, ANYONE_SCRIPT),
    u32(0),
  ]);
}

function toMerkleRoot(leaves: Uint8Array[]): Uint8Array {
  let level = leaves;
  while (level.length > 1) {
    const pairs = level.filter((_, index) => index % 2 === 0);
    level = pairs.map((left, pair) => hashTwice(Buffer.concat([left, level[pair * 2 + 1] ?? left])));
  }
  return level[0] ?? Buffer.alloc(32);
}

function output(sats: bigint, script: Uint8Array): Buffer {
  return Buffer.concat([u64(sats), compactSize(script.length), script]);
}

function compactSize(size: number): Buffer {
  if (size < 0xfd) return Buffer.from([size]);
  return Buffer.from([0xfd, size & 0xff, size >> 8]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}
