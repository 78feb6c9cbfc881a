/** What names an authorization of a token on a network. */
export type AuthorizationName = { network: string; asset: string; from: string; nonce: string };

/** Names one authorization. The signature is no part of it: another spelling of it is the same payment. */
export function claimKeyOf(name: AuthorizationName): string {
  return `${claimKeysOf(name)}${name.nonce}`.toLowerCase();
}

/** What the names of one payer's authorizations begin with. */
export function claimKeysOf(name: Omit<AuthorizationName, 'nonce'>): string {
  return `evm:${name.network}:${name.asset}:${name.from}:`.toLowerCase();
}

/** The payer as CAIP-10. */
export function payerOf(name: { network: string; from: string }): string {
  return `${name.network}:${name.from}`.toLowerCase();
}

/** The ledger unit that the token arrives in. */
export function unitOf(name: { network: string; asset: string }): string {
  return `${name.network}/erc20:${name.asset}`.toLowerCase();
}
