export { acceptArrival } from './accept-arrival.ts';
export {
  balanceOf,
  type IssuedKey,
  mintKey,
  type SignUpInput,
  signUp,
  signUpDemand,
  topUp,
  topUpDemand,
} from './account.ts';
export { describeBuiltIn, exampleSale, findBuiltInManifest, publishBuiltIns } from './built-in.ts';
export { bundleOfLeaf, bundleOfVersion } from './bundles.ts';
export {
  type CheckoutDeps,
  type CheckoutKey,
  type CheckoutReturn,
  findCheckoutKey,
  type OpenedCheckout,
  openCheckout,
  openKeyCheckout,
} from './checkout.ts';
export {
  type ChildInput,
  createChildKey,
  type KeyView,
  listKeys,
  type NewChild,
  ownCaps,
  rotateKey,
  spendableBy,
} from './child-keys.ts';
export { type CreditChallenge, type CreditClaim, challengeCredit, claimCredit } from './claim-credit.ts';
export { confirmSettlements } from './confirm-settlements.ts';
export { creditStrays } from './credit-stray.ts';
export { type Demand, demandPayment, readCredential } from './demand.ts';
export type { GatewayDeps, GatewaySettings } from './deps.ts';
export { answerEarlierCall, type EarlierCall } from './earlier-call.ts';
export { EXAMPLE_PRICE } from './example.ts';
export { createFreeCalls } from './free-calls.ts';
export { noteAnswer } from './guard-claim.ts';
export { creditLateArrivals } from './late-arrivals.ts';
export { createMarketplace } from './marketplace/marketplace.ts';
export { publishMarketplace } from './marketplace/publish-marketplace.ts';
export {
  callPaidByKey,
  isAlwaysPaid,
  type PaidCallAnswer,
  type PaidCallInput,
  paidCall,
} from './paid-call.ts';
export { paymentHeaders } from './payment-headers.ts';
export {
  createPaymentPages,
  isPageState,
  type PageState,
  type PageSubject,
  type PaymentPages,
} from './payment-page.ts';
export { createPriceTags, type PriceTag, type PriceTags } from './price-tags.ts';
export { type PublishAnswer, type PublishInput, publish } from './publish.ts';
export type {
  Build,
  Builder,
  EndpointClaim,
  Ownership,
} from './publishing-ports.ts';
export { receiveWebhook } from './receive-webhook.ts';
export { adoptDifferences, noteOpenings, type ReconciliationReport, reconcileRails } from './reconcile.ts';
export { adoptOrphans, reconcileSettlements } from './recover.ts';
export {
  type CheckedRelease,
  checkRelease,
  listReleaseKeys,
  type ReleaseKeyList,
  type ReleaseToCheck,
  registerReleaseKey,
  revokeReleaseKey,
} from './release-keys.ts';
export { type CallInput, refuseOtherTools, resolveSale } from './resolve-sale.ts';
export {
  type CallRequest,
  digestCall,
  fixSale,
  hashRequest,
  hashResult,
  type Sale,
  toDemand,
} from './sale.ts';
export { listSales, type SalesPage, type SalesSummary, summarizeSales } from './sales.ts';
export {
  type BuiltInContext,
  type BuiltInServer,
  type BuiltInServers,
  exchangeFree,
  findMcpServer,
  hashBuiltIn,
  refuseOtherBuiltIn,
  type ServedMcp,
} from './serve-mcp.ts';
export { type SpelledDemand, standDemand } from './standing-demand.ts';
export { tellListing } from './tell-listing.ts';
export { yank } from './yank.ts';
