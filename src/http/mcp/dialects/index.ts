export { takesAsPass } from './pass.ts';
export {
  type McpEra,
  type PaymentContext,
  type PaymentSpelling,
  spellPaymentRequired,
} from './payment-required.ts';
export { offersPage, type PageReturn, type PersonAsked, takePageReturn } from './person.ts';
export { spellProblem } from './problem.ts';
export { receiptMeta } from './receipt.ts';
export { carryMeta, isHttpPayer, type JsonObject } from './request.ts';
export { dropChallenges, dropClaims, dropPaymentKeys, stripMeta } from './strip.ts';
