import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createCatalog, type Layers } from './catalog/index.ts';
import type { Config } from './config.ts';
import { deriveKey } from './core/bytes.ts';
import { type Clock, systemClock } from './core/clock.ts';
import type { Log } from './core/log.ts';
import { millicents } from './core/money.ts';
import { createSharedTimeout } from './core/shared-timeout.ts';
import {
  isAnswering,
  migrate,
  openDatabase,
  type Sql,
  startEmbeddedPostgres,
  withTransaction,
} from './db/index.ts';
import { type WiredExecution, wireExecution } from './deps/execution.ts';
import { type WiredProvenance, wireProvenance } from './deps/provenance.ts';
import { wireRails } from './deps/rails.ts';
import type { WiredRail } from './deps/wired-rail.ts';
import {
  createFreeCalls,
  createMarketplace,
  describeBuiltIn,
  type GatewayDeps,
  type GatewaySettings,
  publishBuiltIns,
  publishMarketplace,
} from './gateway/index.ts';
import { createMcpSessions, type HttpDeps } from './http/index.ts';
import type { Job } from './jobs/index.ts';
import { createKeys, keyGuard } from './keys/index.ts';
import { CHARGE_SETTINGS, createCharger, createLedger, DEFAULT_RISK_LIMITS } from './ledger/index.ts';
import { createAnswers, createPending, createQuoteSealer, startWorker, type Wire } from './payments/index.ts';
import { createL402Wire } from './payments/wires/l402/index.ts';
import { createMppWire } from './payments/wires/mpp/index.ts';
import { createX402Wire } from './payments/wires/x402/index.ts';
import {
  createReceiptSigner,
  createReceipts,
  createReleaseKeys,
  type Logs,
  newLane,
} from './provenance/index.ts';
import { createReliability } from './reliability/index.ts';
import { readSecrets, type Secrets } from './secrets.ts';
import { createTraffic } from './traffic/index.ts';

const MIGRATIONS = resolve(import.meta.dirname, '../migrations');
const CHALLENGE_BOUND_MS = 25_000;
const QUOTE_LIFETIME_MS = 5 * 60 * 1000;
const VERSION = '0.1.0';
const ISSUED_KEY = 'issued-key';
/** One for each of hold, charge, capture and release, which are batched apart. */
/** Calls of publishers' own servers that nobody pays for, under way at once. */
const FREE_ENDPOINT_CALLS_MAX = 256;
const CHARGE_POOL_MAX = 4;

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
};

/** Chooses every adapter and wires the parts together: the one place that knows them all. */
export async function createDeps({ config, log, publicUrl, isDraining }: DepsInput): Promise<Deps> {
  const clock = systemClock;
  mkdirSync(config.dataDir, { recursive: true });
  const secrets = readSecrets(config);
  const database = await openStore(config, log);
  const { sql, chargeSql } = database;
  const wired = wireExecution({ config, sql, clock, log, publicUrl, secrets: secrets.masters });
  const { execution } = wired;
  const rails = await wireRails(config, { sql, clock, log, secrets: secrets.masters });
  const provenance = await wireProvenance({ config, secrets, sql, clock, log, publicUrl });
  const { logs } = provenance;
  const parts = wireDomains({
    ...{ secrets, sql, chargeSql, clock, log, publicUrl },
    ...{ logs, layers: wired.layers },
  });
  const worker = await startWorker(sql);
  const gateway: GatewayDeps = {
    ...parts,
    sql,
    clock,
    log,
    settings: toSettings(config, publicUrl),
    risk: DEFAULT_RISK_LIMITS,
    execution,
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
  await withTransaction(sql, (tx) => gateway.ledger.openPlatform(tx));
  await publishBuiltIns(gateway);
  const marketplace = createMarketplace(gateway);
  const marketplaceId = await publishMarketplace(gateway, marketplace);
  const isMarketplace = (idOrName: string) => idOrName === marketplace.name || idOrName === marketplaceId;
  return {
    http: {
      ...gateway,
      builtIns: { find: (idOrName) => (isMarketplace(idOrName) ? marketplace : undefined) },
      adminKey: secrets.adminKey,
      version: VERSION,
      isTrustedProxy: config.isTrustedProxy,
      checkout: rails.stripe?.checkout,
      stripeWebhook: rails.stripe?.webhook,
      mcpSessions: createMcpSessions({ secrets: secrets.masters, clock }),
      didDocument: () => parts.signer.didDocument(),
      jwks: () => ({ keys: [...parts.signer.jwks().keys, ...wired.jwks().keys] }),
      isReady: () => readReadiness({ sql, wired, provenance, rails: rails.all }, isDraining),
    },
    jobs: [...wired.jobs, ...provenance.jobs, ...rails.all.flatMap(({ jobs }) => jobs)],
    async close() {
      for (const { close } of rails.all) await close?.();
      await gateway.charger.drain();
      await wired.close();
      await gateway.receipts.sealOpenBatches();
      await worker.stop();
      await database.close();
    },
  };
}

function wireFreeCalls({ sandbox }: Config) {
  return {
    // Half of the sandbox, so that the other half is always for calls that pay.
    freeCalls: createFreeCalls({ inFlightMax: Math.max(1, Math.floor(sandbox.concurrencyMax / 2)) }),
    freeEndpointCalls: createFreeCalls({ inFlightMax: FREE_ENDPOINT_CALLS_MAX }),
  };
}

type Store = {
  sql: Sql;
  /** For the charge statements alone: they want plans of their own. */
  chargeSql: Sql;
  close(): Promise<void>;
};

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

async function openStore(config: Config, log: Log): Promise<Store> {
  const embedded =
    config.databaseUrl === undefined
      ? await startEmbeddedPostgres({ dataDir: join(config.dataDir, 'pg'), log })
      : undefined;
  const url = config.databaseUrl ?? embedded?.url ?? '';
  await migrate({ url, folder: MIGRATIONS, log });
  const database = openDatabase({ url, poolMax: config.databasePoolMax, applicationName: 'millicent' });
  const charging = openDatabase({
    ...{ url, poolMax: CHARGE_POOL_MAX, applicationName: 'millicent-charge', settings: CHARGE_SETTINGS },
  });
  return {
    sql: database.sql,
    chargeSql: charging.sql,
    async close() {
      await charging.close();
      await database.close();
      await embedded?.close();
    },
  };
}

type WireInput = {
  secrets: Secrets;
  sql: Sql;
  chargeSql: Sql;
  clock: Clock;
  log: Log;
  publicUrl: string;
  layers: Layers;
  logs: Logs;
};

function wireDomains(input: WireInput) {
  const { secrets, sql, chargeSql, clock, log, publicUrl, layers, logs } = input;
  const [master, ...formerMasters] = secrets.masters;
  const catalog = createCatalog({ sql, clock, openLayer: layers.open });
  const retired = secrets.receiptKeyPreviousPem;
  const signer = createReceiptSigner({
    issuer: publicUrl,
    privateKey: secrets.receiptKeyPem,
    retiredPublicKeys: retired === undefined ? [] : [retired],
  });
  const logOrigin = logs.versions.origin;
  const receipts = createReceipts({
    ...{ sql, clock, log, signer, lane: newLane(), logOrigin },
    receiptsLog: logs.receipts,
    describeVersion: async (id) => (await catalog.describeVersion(id)) ?? (await describeBuiltIn(sql, id)),
  });
  return {
    catalog,
    signer,
    receipts,
    releaseKeys: createReleaseKeys({ sql, clock, logOrigin, publicUrl }),
    ledger: createLedger({ sql }),
    charger: createCharger({ sql: chargeSql, parts: { guard: keyGuard, rider: receipts.rider } }),
    keys: createKeys({ sql, clock }),
    quotes: createQuoteSealer({ secrets: secrets.masters, clock, lifetimeMs: QUOTE_LIFETIME_MS }),
    answers: createAnswers({ sql, clock, secrets: secrets.masters }),
    pending: createPending({ sql, secrets: secrets.masters }),
    keySecrets: [
      deriveKey(master, ISSUED_KEY),
      ...formerMasters.map((former) => deriveKey(former, ISSUED_KEY)),
    ] as const,
    payerSalt: deriveKey(master, 'opaque-payer'),
  };
}

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

type Watched = {
  sql: Sql;
  wired: WiredExecution;
  provenance: WiredProvenance;
  rails: readonly WiredRail[];
};

async function readReadiness({ sql, wired, provenance, rails }: Watched, isDraining: () => boolean) {
  const database = (await isAnswering(sql)) ? 'ok' : 'down';
  const sandbox = await wired.execution.status();
  const isReady = database === 'ok' && !isDraining();
  return {
    isReady,
    checks: {
      database,
      // Without a sandbox hosted calls answer 503; everything else works, so the gateway stays in service.
      sandbox: sandbox.kind === 'ready' ? 'ok' : sandbox.detail,
      ...wired.health(),
      // A log that diverged is an alarm and no reason to stop selling: what was signed stays provable.
      ...provenance.health(),
      ...Object.assign({}, ...rails.map(({ health }) => health?.() ?? {})),
      ...(isDraining() ? { draining: 'yes' } : {}),
    },
  };
}
