export { type Answers, createAnswers } from './answer/answer.ts';
export {
  type AnswerState,
  type Claim,
  type ClaimMode,
  type ClaimState,
  type Failure,
  type NewClaim,
  claimIdOf,
  toIntent,
} from './claim.ts';
export type { Form } from './form.ts';
export type { Purpose, Quote } from './quote.ts';
export { type QuoteOpening, type QuoteSealer, createQuoteSealer, hashQuoteId } from './quote-seal.ts';
export type { Authorization, Offer, Rail, RailName, Settled, Settlement, SettlementIntent, Verification } from './rail.ts';
export {
  deferSettlement,
  findClaim,
  insertClaim,
  listOrphanedRuns,
  lockClaim,
  loseAnswersOfStoppedWorkers,
  markAnswer,
  takeDueSettlements,
  takeOwedClaim,
  updateClaim,
} from './store.ts';
export type { Carried, Challenge, Credential, CredentialReading, Wire, WireName } from './wire.ts';
export { type Worker, startWorker } from './worker/worker.ts';
