import { ExactEvmScheme } from '@x402/evm/exact/client';
import { wrapFetchWithPaymentFromConfig } from '@x402/fetch';
import type { Account } from './chain.ts';
import type { Fetch } from './http.ts';

/** The stock x402 client with a wallet, and what it last put on the wire. */
export type PayingClient = { fetch: Fetch; lastCredential(): string | undefined };

/**
 * `@x402/fetch` as published on npm: it asks, reads the 402, signs, and asks again. The fetch handed to it
 * only looks at the header that carries the payment, so that the demo can send it a second time.
 */
export function createPayingClient(account: Account): PayingClient {
  let credential: string | undefined;
  const transport: Fetch = (input, init) => {
    const request = new Request(input, init);
    credential = request.headers.get('payment-signature') ?? credential;
    return globalThis.fetch(request);
  };
  const schemes = [{ network: 'eip155:*', client: new ExactEvmScheme(account) }] as const;
  return {
    fetch: wrapFetchWithPaymentFromConfig(transport, { schemes: [...schemes] }),
    lastCredential: () => credential,
  };
}
