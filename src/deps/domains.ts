import { createCatalog, type Layers } from '../catalog/index.ts';
import { deriveKey } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Sql } from '../db/index.ts';
import { describeBuiltIn } from '../gateway/index.ts';
import { createKeys, keyGuard } from '../keys/index.ts';
import { createCharger, createLedger } from '../ledger/index.ts';
import { createAnswers, createPending, createQuoteSealer } from '../payments/index.ts';
import {
  createReceiptSigner,
  createReceipts,
  createReleaseKeys,
  type Logs,
  newLane,
} from '../provenance/index.ts';
import type { Secrets } from '../secrets.ts';

const QUOTE_LIFETIME_MS = 5 * 60 * 1000;
const ISSUED_KEY = 'issued-key';

type WireInput = {
  /** Whether charges are cut by shard. */
  isCut: boolean;
  secrets: Secrets;
  sql: Sql;
  chargeSql: Sql;
  clock: Clock;
  log: Log;
  publicUrl: string;
  layers: Layers;
  logs: Logs;
};

/** The domains that need nothing but the database and the secrets. */
export function wireDomains(input: WireInput) {
  const { secrets, sql, chargeSql, clock, log, publicUrl, layers, logs, isCut } = input;
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
    ...{ sql, clock, log, signer, lane: newLane(), logOrigin, isCut },
    receiptsLog: logs.receipts,
    describeVersion: async (id) => (await catalog.describeVersion(id)) ?? (await describeBuiltIn(sql, id)),
  });
  return {
    catalog,
    signer,
    receipts,
    releaseKeys: createReleaseKeys({ sql, clock, logOrigin, publicUrl }),
    ledger: createLedger({ sql }),
    charger: createCharger({ sql: chargeSql, parts: { guard: keyGuard, rider: receipts.rider, isCut } }),
    keys: createKeys({ sql, clock }),
    quotes: createQuoteSealer({ secrets: secrets.masters, clock, lifetimeMs: QUOTE_LIFETIME_MS }),
    answers: createAnswers({ sql, secrets: secrets.masters }),
    pending: createPending({ sql, secrets: secrets.masters }),
    keySecrets: [
      deriveKey(master, ISSUED_KEY),
      ...formerMasters.map((former) => deriveKey(former, ISSUED_KEY)),
    ] as const,
    payerSalt: deriveKey(master, 'opaque-payer'),
  };
}
