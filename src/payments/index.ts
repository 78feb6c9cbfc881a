export { type Answers, createAnswers } from './answer/answer.ts';
export { findUse, lockOwed } from './attachment/store.ts';
export type { Checkout, CheckoutInput, CheckoutOpening } from './checkout.ts';
export {
  type AnswerState,
  type Claim,
  type ClaimMode,
  type ClaimState,
  claimIdOf,
  type Failure,
  failureSchema,
  type NewClaim,
  toIntent,
} from './claim.ts';
export { type Form, isPaymentProof } from './form.ts';
export { createInvoices, type Invoices } from './invoice/invoice.ts';
export { createPending, type Pending } from './pending/pending.ts';
export { deleteUnpaidClaims, shrinkDeliveredClaims } from './prune/store.ts';
export type { Purpose, Quote } from './quote.ts';
export {
  createQuoteSealer,
  hashQuoteId,
  type QuoteOpening,
  type QuoteSealer,
  type QuoteSeries,
} from './quote-seal.ts';
export type {
  Arrival,
  Authorization,
  Holding,
  Offer,
  OfferInput,
  Rail,
  RailBalance,
  RailName,
  Settled,
  Settlement,
  SettlementCost,
  SettlementIntent,
  Verification,
} from './rail.ts';
export {
  adoptSettlements,
  awaitClaim,
  deferSettlement,
  deferUntil,
  findClaim,
  finishClaim,
  insertClaim,
  isAnswerInDoubt,
  listOrphanedRuns,
  lockClaim,
  loseAnswersOfStoppedWorkers,
  markAnswer,
  takeDueSettlements,
  takeUnconfirmed,
  takeVoidedClaims,
  updateClaim,
  watchNoLonger,
  withdrawClaim,
} from './store.ts';
export { findClaimed, findStrayCursor, saveStrayCursor } from './stray/store.ts';
export type { StrayPage, StrayPayment, StraySource } from './stray/stray.ts';
export { hastenSettlement, insertWebhookEvent, pruneWebhookEvents } from './webhook/store.ts';
export type { WebhookEvent, WebhookReader, WebhookReading } from './webhook/webhook.ts';
export type {
  Carried,
  Challenge,
  ChallengeInput,
  Credential,
  CredentialReading,
  Refusal,
  RefusalCode,
  StandingChallenge,
  Wire,
  WireName,
} from './wire.ts';
export { startWorker, type Worker } from './worker/worker.ts';
