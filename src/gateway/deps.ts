import type { Catalog } from '../catalog/index.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Millicents } from '../core/money.ts';
import type { Sql } from '../db/index.ts';
import type { Execution } from '../execution/index.ts';
import type { Keys, Tiers } from '../keys/index.ts';
import type { Charger, Ledger, RiskLimits } from '../ledger/index.ts';
import type { Answers, Pending, QuoteSealer, Rail, StraySource, Wire, Worker } from '../payments/index.ts';
import type { Anchors, Bundles, Logs, ReceiptDraft, Receipts, ReleaseKeys } from '../provenance/index.ts';
import type { Reliability } from '../reliability/index.ts';
import type { Traffic } from '../traffic/index.ts';
import type { FreeCalls } from './free-calls.ts';
import type { Builder, Ownership } from './publishing-ports.ts';

export type GatewaySettings = {
  /** Absolute, without a trailing slash: what challenges and receipts name. */
  publicUrl: string;
  signupPrice: Millicents;
  signupCredit: Millicents;
  /** The least and the most one top-up may be. */
  topUpMin: Millicents;
  topUpMax: Millicents;
  mintMax: Millicents;
  mintsPerHour: number;
  signupsPerHour: number;
  /** What accounts get for nothing, by tier; without any, the default ones. */
  tiers?: Tiers | undefined;
  /** How long a request waits for an outcome before it answers 503. */
  outcomeWaitMs: number;
  /** How long the gateway itself waits for a settlement before the reconciler goes on. */
  settleTimeoutMs: number;
  /** Whether a publisher's endpoint may be on this machine: for development, and never in production. */
  allowsLoopbackEndpoints: boolean;
};

/** Everything the use cases join. Wired once, in `deps.ts` of the process. */
export type GatewayDeps = {
  sql: Sql;
  clock: Clock;
  log: Log;
  settings: GatewaySettings;
  ledger: Ledger;
  charger: Charger<ReceiptDraft | null>;
  risk: RiskLimits;
  keys: Keys;
  catalog: Catalog;
  execution: Execution;
  /** Publishers' dependencies. */
  builder: Builder;
  /** Publishers' endpoints. */
  ownership: Ownership;
  receipts: Receipts;
  releaseKeys: ReleaseKeys;
  reliability: Reliability;
  /** Who may call how fast. */
  traffic: Traffic;
  freeCalls: FreeCalls;
  /** The same for publishers' own servers, which take no place of the sandbox. */
  freeEndpointCalls: FreeCalls;
  quotes: QuoteSealer;
  answers: Answers;
  pending: Pending;
  wires: readonly Wire[];
  rails: readonly Rail[];
  /** Where money may arrive that nobody shows us. */
  straySources: readonly StraySource[];
  /** Bounds what a challenge may wait for its rails. */
  challengeBound(): AbortSignal;
  worker: Worker;
  /** Derive issued keys, so that none has to be stored: the first for new ones, all of them to find old ones. */
  keySecrets: readonly [Buffer, ...Buffer[]];
  /** What was published, and commitments to what was sold. */
  logs: Logs;
  /** Where the roots of both stand on chains. */
  anchors: Anchors;
  /** Proofs of what is in the version log. */
  bundles: Bundles;
  /** Hides which account paid in the receipts of key-paid calls. */
  payerSalt: Buffer;
};
