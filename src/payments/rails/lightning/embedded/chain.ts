import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs';
import { type Block, hashTwice, makeBlock, makeFundingTransaction, readOutpoints, toTxid } from './block.ts';

/** What a node must know of the chain it lives on, whether that is here or in another process. */
export type ChainView = {
  readTip(): Promise<{ height: number; hash: Uint8Array }>;
  /** The blocks above a height, in order. */
  readBlocks(afterHeight: number): Promise<Block[]>;
  broadcast(transaction: Uint8Array): void;
  /** Tells every block above `afterHeight`, in order, until the returned function is called. */
  follow(afterHeight: number, onBlock: (block: Block) => void): () => void;
};

/**
 * A chain made up for regtest: real headers with their work and Merkle roots, kept in one file, and no peers.
 * Scripts are not checked.
 */
export type Chain = ChainView & {
  height(): number;
  /** Unix seconds of the newest block, which is the time that LDK goes by. */
  time(): number;
  mine(blocks: number): void;
  /** A signed transaction that pays `sats` to `script` from a mined coin. */
  fund(script: Uint8Array, sats: bigint): Uint8Array;
  blocksAfter(height: number): Block[];
  /** Transactions that wait for a block. */
  waiting(): number;
};

export type ChainDeps = { path: string; nowSeconds: () => number };

const GENESIS_HASH = Buffer.from(
  '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206',
  'hex',
).reverse();
/** A coinbase can be spent after a hundred blocks; these leave fifteen that can be. */
const FIRST_BLOCKS = 115;
const MATURITY = 100;
/** How far in the past a new chain begins, so that its first blocks can each be a second apart. */
const AGE_SECONDS = 600;

/** Opens the chain of a file, or begins it. */
export function openChain(deps: ChainDeps): Chain {
  const { path, nowSeconds } = deps;
  const blocks = readBlockFile(path);
  const mempool = new Map<string, Uint8Array>();
  const confirmed = new Set<string>();
  const spent = new Set<string>();
  /** Coins of funding transactions that were handed out and may not have come back yet. */
  const reserved = new Set<string>();
  const followers = new Set<(block: Block) => void>();
  const tipHash = () => blocks.at(-1)?.hash ?? GENESIS_HASH;
  const time = () => blocks.at(-1)?.time ?? nowSeconds() - AGE_SECONDS;

  const note = (block: Block) => {
    for (const transaction of block.transactions) {
      confirmed.add(toTxid(transaction).toString('hex'));
      for (const outpoint of readOutpoints(transaction)) spent.add(outpoint);
    }
  };
  const mineOne = (blockTime: number) => {
    const block = makeBlock({
      height: blocks.length + 1,
      previous: tipHash(),
      time: Math.max(time() + 1, blockTime),
      transactions: [...mempool.values()],
    });
    // In the file before anyone hears of it: a node must never know more of the chain than the chain does.
    appendFileSync(path, `${toLine(block)}\n`, { mode: 0o600 });
    mempool.clear();
    blocks.push(block);
    note(block);
    for (const tell of followers) tell(block);
  };
  for (const block of blocks) note(block);
  while (blocks.length < FIRST_BLOCKS) mineOne(0);

  const blocksAfter = (height: number) => blocks.slice(height);
  return {
    height: () => blocks.length,
    time,
    mine: (count) => {
      // Many at once must not run ahead of the clock.
      for (let index = 0; index < count; index += 1) mineOne(count === 1 ? nowSeconds() : 0);
    },
    fund: (script, sats) => {
      const coin = findCoin(
        blocks.slice(0, blocks.length - MATURITY),
        (id) => spent.has(id) || reserved.has(id),
      );
      reserved.add(coin.outpoint);
      return makeFundingTransaction({ coinbase: coin.coinbase, script, sats });
    },
    blocksAfter,
    waiting: () => mempool.size,
    readTip: async () => ({ height: blocks.length, hash: tipHash() }),
    readBlocks: async (afterHeight) => blocksAfter(afterHeight),
    broadcast: (transaction) => {
      const id = toTxid(transaction).toString('hex');
      const inputs = readOutpoints(transaction);
      const waiting = [...mempool.values()].flatMap(readOutpoints);
      // Only the first that spends a coin is mined; LDK sends its transactions again and again.
      if (confirmed.has(id) || inputs.some((input) => spent.has(input) || waiting.includes(input))) return;
      mempool.set(id, transaction);
    },
    follow: (afterHeight, onBlock) => {
      for (const block of blocksAfter(afterHeight)) onBlock(block);
      followers.add(onBlock);
      return () => followers.delete(onBlock);
    },
  };
}

/** The first coinbase that can be spent. */
function findCoin(mature: Block[], isSpent: (outpoint: string) => boolean) {
  for (const { transactions } of mature) {
    const [coinbase] = transactions;
    if (coinbase === undefined) continue;
    const outpoint = `${toTxid(coinbase).toString('hex')}:0`;
    if (!isSpent(outpoint)) return { coinbase, outpoint };
  }
  throw new Error('every coin of the chain is spent: mine further blocks');
}

/** A block as one line of hex words, the same in the file and between processes. */
export function toLine(block: Block): string {
  const { header, transactions } = block;
  return [header, ...transactions].map((bytes) => Buffer.from(bytes).toString('hex')).join(' ');
}

export function fromLine(line: string, height: number): Block {
  const [header, ...transactions] = line.split(' ').map((word) => Buffer.from(word, 'hex'));
  if (header?.length !== 80) throw new Error(`block ${height} cannot be read`);
  return { height, header, hash: hashTwice(header), time: header.readUInt32LE(68), transactions };
}

/** What a killed process left half written is cut off. */
function readBlockFile(path: string): Block[] {
  if (!existsSync(path)) return [];
  const text = readFileSync(path, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) truncateSync(path, whole.length);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line, index) => fromLine(line, index + 1));
}
