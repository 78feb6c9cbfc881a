import { type Hex, keccak256 } from 'viem';
import type { TempoForm } from '../../form.ts';
import { readTransaction, type SignedTransaction } from './transaction.ts';

/** What a form shows, read once: decoding a transaction recovers its signer. */
export type Shown = {
  form: TempoForm;
  /** The transaction's hash, as the chain names it. */
  hash: Hex;
  /** Undefined for a hash, and for what is no signed transaction. */
  transaction: SignedTransaction | undefined;
};

export function readShown(form: TempoForm): Shown {
  if (form.shows === 'hash') return { form, hash: form.value, transaction: undefined };
  const transaction = readTransaction(form.value);
  // What cannot be read is refused by `verify`; until then it needs a name of its own.
  return { form, hash: transaction?.hash ?? keccak256(form.value), transaction };
}

/**
 * Names the payment by its transaction's hash, which is the same whether the payer shows the transaction or
 * what became of it. Only a sponsor's signature would change it, and sponsored transactions are not taken.
 */
export function identityOf({ form, hash, transaction }: Shown): { claimKey: string; payer: string } {
  // As CAIP-10; who sent a bare hash is known by nothing but that hash.
  const account = (form.shows === 'hash' ? form.payer : transaction?.sender) ?? hash;
  return { claimKey: `tempo:${form.network}:${hash}`, payer: `${form.network}:${account}` };
}

/** The ledger unit that the currency arrives in. */
export function unitOf(terms: { network: string; currency: string }): string {
  return `${terms.network}/tip20:${terms.currency}`;
}
