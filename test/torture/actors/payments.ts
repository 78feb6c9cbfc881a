/** Somebody who pays on a rail. */
export type Wallet = { name: string };
