import { BaseError, type Client, createClient, defineChain, http } from 'viem';
import { timeLimit } from '../core/time-limit.ts';

export type ChainTimeouts = {
  /** The longest one JSON-RPC call may take, its retries included. */
  callMs: number;
};

export type ChainClientOptions = {
  chainId: number;
  rpcUrl: string;
  /** How deep a block is final, where nodes know no `finalized` block; left out, they are asked for it. */
  finalityBlocks?: number | undefined;
  timeouts: ChainTimeouts;
};

/** How to reach one EVM chain. */
export type ChainClient = {
  readonly chainId: number;
  readonly finalityBlocks: number | undefined;
  /** A viem client whose every request ends with `signal`, or when its own time is up. */
  within(signal: AbortSignal): Client;
};

const RETRIES_MAX = 2;
const RETRY_DELAY_MS = 100;

/**
 * A chain client that never answers from a cache and sends every call by itself: money decisions are made on
 * what it reads, and one slow call of a batch would hold up the others.
 */
export function createChainClient(options: ChainClientOptions): ChainClient {
  const { chainId, rpcUrl, finalityBlocks, timeouts } = options;
  const base = createClient({
    chain: defineChain({
      id: chainId,
      name: `eip155:${chainId}`,
      nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
      rpcUrls: { default: { http: [rpcUrl] } },
    }),
    transport: http(rpcUrl, {
      batch: false,
      timeout: timeouts.callMs,
      retryCount: RETRIES_MAX,
      retryDelay: RETRY_DELAY_MS,
    }),
    cacheTime: 0,
  });
  return {
    chainId,
    finalityBlocks,
    within: (signal) => bind(base, { signal, callMs: timeouts.callMs, rpcUrl }),
  };
}

/**
 * The same client with bounded requests. The cast holds because what viem sends passes through unchanged, and
 * so does what comes back: only a signal is added.
 */
function bind(base: Client, input: { signal: AbortSignal; callMs: number; rpcUrl: string }): Client {
  const request = async (args: never, options: object | undefined): Promise<unknown> => {
    const signal = timeLimit(input.signal, input.callMs);
    try {
      return await base.request(args, { ...options, signal });
    } catch (error) {
      hideAddress(error, input.rpcUrl);
      throw error;
    }
  };
  return { ...base, request: request as unknown as Client['request'] };
}

/** Providers put their key into the address and viem puts the address into its errors, which are logged. */
function hideAddress(error: unknown, rpcUrl: string): void {
  const { origin } = new URL(rpcUrl);
  const hide = (text: string): string => text.replaceAll(rpcUrl, origin);
  for (let at = error; at instanceof BaseError; at = at.cause) {
    at.message = hide(at.message);
    at.details = hide(at.details);
    if (at.stack !== undefined) at.stack = hide(at.stack);
    if (at.metaMessages !== undefined) at.metaMessages = at.metaMessages.map(hide);
    if ('url' in at) at.url = origin;
  }
}
