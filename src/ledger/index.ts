export { MILLICENT_UNIT } from './account.ts';
export { type CapRefusal, type Caps, type CapUse, leftUnder } from './cap/cap.ts';
export {
  CHARGE_SETTINGS,
  type Charger,
  type CloseResult,
  createCharger,
  type HoldRequest,
  type HoldResult,
} from './charge/charger.ts';
export { checkLedger, type LedgerReport } from './check/check.ts';
export { checkRunning, type RunningCheck, type RunningCheckOptions } from './check/running.ts';
export {
  assessRisk,
  DEFAULT_RISK_LIMITS,
  moveExposure,
  openExposure,
  type RiskLimits,
  type RiskVerdict,
} from './exposure/exposure.ts';
export type { OpenExposure } from './exposure/store.ts';
export { CARD_FINAL_MS, FUNDS_FINAL_MS } from './finality.ts';
export { ensureEntryPartitions } from './journal/store.ts';
export { createLedger, type Funding, type Ledger } from './ledger.ts';
export { deleteClosedExposures, deleteGivenBackHolds } from './prune/store.ts';
export type { Accepted, KeyGuard, Rider } from './rider.ts';
export { type BookedSales, sumBookedSales } from './sales/store.ts';
export { FEE_BPS, feeOf, type Tier } from './split.ts';
export type { CallPosition, CallRow, HoldRow } from './store.ts';
