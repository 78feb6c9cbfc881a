import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { blocksSchema, tipSchema, transactionSchema } from './api.ts';
import type { Block } from './block.ts';
import { type ChainView, fromLine } from './chain.ts';
import { toHex } from './ldk.ts';
import { ask } from './request.ts';

/** The chain of another node of ours, followed over its service, which may be away for a while. */
export type RemoteChain = ChainView & {
  /** A signed transaction that pays `sats` to `script`. */
  fund(script: Uint8Array, sats: bigint): Promise<Uint8Array>;
  mine(blocks: number): Promise<void>;
  close(): void;
};

const TIMEOUT_MS = 10_000;
const POLL_WAIT_MS = 20_000;
const RETRY_MS = 100;
const ATTEMPTS_MAX = 300;
const doneSchema = z.object({});

/** `findService` is asked anew each time: a service that restarts may come back elsewhere. */
export function createRemoteChain(
  findService: () => { url: string; token: string } | undefined,
): RemoteChain {
  const stopped = new AbortController();
  const { signal } = stopped;
  const call = async <T extends z.ZodType>(path: string, answer: T, body?: unknown, waitMs = 0) => {
    const service = findService();
    if (service === undefined) throw new Error('the service of the chain is not there yet');
    const method = body === undefined ? 'GET' : 'POST';
    return ask(service, { method, path, body, answer, timeoutMs: TIMEOUT_MS + waitMs }, signal);
  };
  const insist = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        if (signal.aborted || attempt >= ATTEMPTS_MAX) throw error;
        await sleep(RETRY_MS, undefined, { signal });
      }
    }
  };
  const readBlocks = async (after: number, waitMs: number): Promise<Block[]> => {
    const path = `/chain/blocks?after=${after}&waitMs=${waitMs}`;
    const { blocks } = await call(path, blocksSchema, undefined, waitMs);
    return blocks.map((line, index) => fromLine(line, after + index + 1));
  };
  const readAllBlocks = async (after: number): Promise<Block[]> => {
    const blocks = await readBlocks(after, 0);
    const last = blocks.at(-1);
    return last === undefined ? blocks : [...blocks, ...(await readAllBlocks(last.height))];
  };
  return {
    readTip: async () => {
      const { height, hash } = await insist(() => call('/chain/tip', tipSchema));
      return { height, hash: new Uint8Array(Buffer.from(hash, 'hex')) };
    },
    readBlocks: (after) => insist(() => readAllBlocks(after)),
    broadcast: (transaction) => {
      const body = transactionSchema.parse({ transaction: toHex(transaction) });
      // LDK broadcasts again after a restart what never reached the chain.
      insist(() => call('/chain/transactions', doneSchema, body)).catch(() => {});
    },
    follow: (after, onBlock) => {
      const stop = new AbortController();
      const read = (height: number) => readBlocks(height, POLL_WAIT_MS);
      void followBlocks({ after, read, onBlock, signal: AbortSignal.any([signal, stop.signal]) });
      return () => stop.abort();
    },
    fund: async (script, sats) => {
      const body = { script: toHex(script), sats };
      const { transaction } = await insist(() => call('/chain/fund', transactionSchema, body));
      return new Uint8Array(Buffer.from(transaction, 'hex'));
    },
    mine: async (blocks) => {
      await insist(() => call('/chain/mine', doneSchema, { blocks }));
    },
    close: () => stopped.abort(),
  };
}

/** Asks for further blocks until told to stop, also while the service is away. */
async function followBlocks(input: {
  after: number;
  read: (height: number) => Promise<Block[]>;
  onBlock: (block: Block) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { read, onBlock, signal } = input;
  for (let height = input.after; !signal.aborted; ) {
    const blocks = await read(height).catch(() => undefined);
    if (blocks === undefined) await sleep(RETRY_MS);
    for (const block of blocks ?? []) {
      if (signal.aborted) return;
      onBlock(block);
      height = block.height;
    }
  }
}
