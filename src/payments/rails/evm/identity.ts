import type { Eip3009Form } from '../../form.ts';

/** Names one authorization. The signature is no part of it: another spelling of it is the same payment. */
export function claimKeyOf(form: Eip3009Form): string {
  return `evm:${form.network}:${form.asset}:${form.from}:${form.nonce}`.toLowerCase();
}

/** The payer as CAIP-10. */
export function payerOf(form: Eip3009Form): string {
  return `${form.network}:${form.from}`.toLowerCase();
}

/** The ledger unit that the token arrives in. */
export function unitOf(form: { network: string; asset: string }): string {
  return `${form.network}/erc20:${form.asset}`.toLowerCase();
}
