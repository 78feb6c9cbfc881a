import type { AxiosInstance } from 'axios';
import type { WalletClient } from 'viem';
import { ensureStockClients, importStockClient } from '../stock-clients/ensure.ts';

/** `x402-fetch` 1.2.0 and `x402-axios` 0.7.2, the last clients that speak version 1 alone. */
export type X402V1Clients = {
  wrapFetch(fetch: typeof globalThis.fetch, wallet: WalletClient): typeof globalThis.fetch;
  /** An axios of the client's own time, which pays. */
  wrapAxios(wallet: WalletClient): AnyAxios;
  decodeReceipt(header: string): { transaction?: string };
};

type AnyAxios = Pick<AxiosInstance, 'request'>;
type LegacyFetch = {
  wrapFetchWithPayment: X402V1Clients['wrapFetch'];
  decodeXPaymentResponse: X402V1Clients['decodeReceipt'];
};
type LegacyAxios = { withPaymentInterceptor(client: AnyAxios, wallet: WalletClient): AnyAxios };
type TheirAxios = { default: { create(): AnyAxios } };

/** Installs them where they are missing. */
export async function loadX402V1Clients(): Promise<X402V1Clients> {
  await ensureStockClients();
  // What a package of its own time exports is written down above, and the tests show that it holds.
  const byFetch = (await importStockClient('x402-fetch/dist/esm/index.mjs')) as LegacyFetch;
  const byAxios = (await importStockClient('x402-axios/dist/esm/index.mjs')) as LegacyAxios;
  const axios = (await importStockClient('axios/index.js')) as TheirAxios;
  return {
    wrapFetch: byFetch.wrapFetchWithPayment,
    wrapAxios: (wallet) => byAxios.withPaymentInterceptor(axios.default.create(), wallet),
    decodeReceipt: byFetch.decodeXPaymentResponse,
  };
}
