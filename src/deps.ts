import { mkdirSync } from 'node:fs';
import type { Config } from './config.ts';
import { type Clock, systemClock } from './core/clock.ts';
import { closeAll } from './core/close-all.ts';
import type { Log } from './core/log.ts';
import { millicents } from './core/money.ts';
import { shareRun } from './core/share-run.ts';
import { createSharedTimeout } from './core/shared-timeout.ts';
import { NO_SIBLINGS, type Siblings } from './core/siblings.ts';
import { withTransaction } from './db/index.ts';
import { wireDomains } from './deps/domains.ts';
import { wireExecution } from './deps/execution.ts';
import { wireProvenance } from './deps/provenance.ts';
import { wireRails } from './deps/rails.ts';
import { readReadiness } from './deps/readiness.ts';
import { takeShare } from './deps/share.ts';
import { openStore, prepareStore, reachServer } from './deps/store.ts';
import {
  createFreeCalls,
  createMarketplace,
  type GatewayDeps,
  type GatewaySettings,
  publishBuiltIns,
  publishMarketplace,
} from './gateway/index.ts';
import { createMcpSessions, type HttpDeps } from './http/index.ts';
import type { Job } from './jobs/index.ts';
import { CHARGE_SETTINGS, DEFAULT_RISK_LIMITS } from './ledger/index.ts';
import { startWorker, type Wire } from './payments/index.ts';
import { createL402Wire } from './payments/wires/l402/index.ts';
import { createMppWire } from './payments/wires/mpp/index.ts';
import { createX402Wire } from './payments/wires/x402/index.ts';
import { createReliability } from './reliability/index.ts';
import { readSecrets } from './secrets.ts';
import { createTraffic } from './traffic/index.ts';

const CHALLENGE_BOUND_MS = 25_000;
const VERSION = '0.1.0';
/** Calls of publishers' own servers that nobody pays for, under way at once. */
const FREE_ENDPOINT_CALLS_MAX = 256;

/** A gateway's parts, wired; `close` gives everything back in the reverse order. */
export type Deps = {
  http: HttpDeps;
  /** What the rails do while the process runs. */
  jobs: readonly Job[];
  close(): Promise<void>;
};

export type DepsInput = {
  config: Config;
  log: Log;
  /** The address callers reach us at, known once we listen. */
  publicUrl: string;
  isDraining(): boolean;
  /** The other workers of this one's supervisor; none when left out. */
  siblings?: Siblings;
};

/** Chooses every adapter and wires the parts together: the one place that knows them all. */
export async function createDeps({ config: whole, log, ...input }: DepsInput): Promise<Deps> {
  const { publicUrl, isDraining, siblings = NO_SIBLINGS } = input;
  const config = takeShare(whole);
  const clock = systemClock;
  mkdirSync(config.dataDir, { recursive: true });
  const secrets = readSecrets(config);
  // Among workers the supervisor has prepared it.
  const prepared = await (siblings.count > 1 ? reachServer(config, log) : prepareStore(config, log));
  const database = openStore(config, prepared, CHARGE_SETTINGS);
  const { sql, chargeSql } = database;
  const wired = await wireExecution({ config, sql, clock, log, publicUrl, secrets: secrets.masters });
  const rails = await wireRails(config, { sql, clock, log, secrets: secrets.masters });
  const provenance = await wireProvenance({ config, secrets, sql, clock, log, publicUrl });
  const { logs } = provenance;
  const parts = wireDomains({
    ...{ secrets, sql, chargeSql, clock, log, publicUrl },
    ...{ logs, layers: wired.layers, isCut: config.charging.isCut },
  });
  const worker = await startWorker(sql);
  const gateway: GatewayDeps = {
    ...parts,
    sql,
    clock,
    log,
    settings: toSettings(config, publicUrl),
    risk: DEFAULT_RISK_LIMITS,
    execution: wired.execution,
    builder: wired.builder,
    ownership: wired.ownership,
    reliability: createReliability({ sql, clock }),
    traffic: createTraffic({ sql, policies: config.traffic.rates }),
    ...wireFreeCalls(config),
    wires: createWires(config, {
      ...{ secrets: secrets.masters, publicUrl, clock, log, signStatement: parts.signer.signStatement },
    }),
    rails: rails.all.map(({ rail }) => rail),
    straySources: rails.all.flatMap(({ strays }) => strays ?? []),
    challengeBound: createSharedTimeout(CHALLENGE_BOUND_MS),
    worker,
    logs,
    anchors: provenance.anchors,
    bundles: provenance.bundles,
  };
  const builtIns = await publishOwn(gateway);
  return {
    http: {
      ...gateway,
      builtIns,
      adminKey: secrets.adminKey,
      version: VERSION,
      isTrustedProxy: config.isTrustedProxy,
      checkout: rails.stripe?.checkout,
      stripeWebhook: rails.stripe?.webhook,
      siblings,
      mcpSessions: createMcpSessions({ secrets: secrets.masters, clock }),
      didDocument: () => parts.signer.didDocument(),
      jwks: () => ({ keys: [...parts.signer.jwks().keys, ...wired.jwks().keys] }),
      isReady: shareRun(() => readReadiness({ sql, wired, provenance, rails: rails.all }, isDraining)),
    },
    jobs: [...wired.jobs, ...provenance.jobs, ...rails.all.flatMap(({ jobs }) => jobs)],
    close: () =>
      closeAll(log, [
        ...rails.all.map(({ close }) => close),
        ...[gateway.charger.drain, wired.close, gateway.receipts.sealOpenBatches],
        ...[worker.stop, database.close],
      ]),
  };
}

/** Our own accounts, tools and marketplace are there before anyone asks; safe for several gateways at once. */
async function publishOwn(gateway: GatewayDeps): Promise<HttpDeps['builtIns']> {
  await withTransaction(gateway.sql, (tx) => gateway.ledger.openPlatform(tx));
  await publishBuiltIns(gateway);
  const marketplace = createMarketplace(gateway);
  const id = await publishMarketplace(gateway, marketplace);
  const isMarketplace = (idOrName: string) => idOrName === marketplace.name || idOrName === id;
  return { find: (idOrName) => (isMarketplace(idOrName) ? marketplace : undefined) };
}

function wireFreeCalls({ sandbox }: Config) {
  return {
    // Half of the sandbox, so that the other half is always for calls that pay.
    freeCalls: createFreeCalls({ inFlightMax: Math.max(1, Math.floor(sandbox.concurrencyMax / 2)) }),
    freeEndpointCalls: createFreeCalls({ inFlightMax: FREE_ENDPOINT_CALLS_MAX }),
  };
}

/**
 * In the order in which their challenges stand. Clients of MPP look at whether the joined `WWW-Authenticate`
 * begins with `Payment`; clients of L402 find their own wherever it stands.
 */
function createWires(config: Config, { publicUrl, ...parts }: WireParts): Wire[] {
  const realm = new URL(publicUrl).hostname;
  const deps = { ...parts, realm, networks: config.evm?.networks ?? [] };
  return [createX402Wire(deps), createMppWire(deps), createL402Wire(deps)];
}

type WireParts = {
  secrets: readonly Buffer[];
  publicUrl: string;
  clock: Clock;
  log: Log;
  signStatement(statement: object): string;
};

function toSettings(config: Config, publicUrl: string): GatewaySettings {
  return {
    publicUrl,
    signupPrice: config.signupPrice,
    signupCredit: config.signupCredit,
    topUpMin: millicents(1_000),
    topUpMax: millicents(100_000_000),
    mintMax: config.mintMax,
    mintsPerHour: config.mintsPerHour,
    signupsPerHour: config.signupsPerHour,
    tiers: config.tiers,
    outcomeWaitMs: 25_000,
    settleTimeoutMs: 25_000,
    allowsLoopbackEndpoints: config.remote.allowLoopback,
  };
}
