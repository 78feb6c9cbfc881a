export type { Limits } from './budget.ts';
export {
  InvoiceNotPaidError,
  type LimitName,
  PaymentFailedError,
  PaymentUnknownError,
  type RefusalReason,
  RequestRefusedError,
  SpendingLimitError,
} from './errors.ts';
export type { Challenged, Payable, Payer, PaymentHeader, RailName } from './payer.ts';
export { type DollarToken, type EvmAccount, type EvmPayerOptions, evmPayer } from './payers/evm.ts';
export { type LightningPayerOptions, lightningPayer } from './payers/lightning.ts';
export { type SptRequest, type StripePayerOptions, stripePayer } from './payers/stripe.ts';
export { type TempoPayerOptions, tempoPayer } from './payers/tempo.ts';
export {
  createPayingFetch,
  type PaidResponse,
  type PayingFetch,
  type PayingFetchOptions,
  type PayingInit,
} from './paying-fetch.ts';
export type { Spend, Spending, SpendState } from './spending.ts';
