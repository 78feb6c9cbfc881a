import { privateKeyToAddress } from 'viem/accounts';
import { expect } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { newReceiptKeyPem } from '../../src/provenance/index.ts';
import { labelOf } from '../harness/call-label.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import {
  type GatewayClient,
  startTestGateway,
  type TestGateway,
  type TestGatewayOptions,
} from '../harness/gateway.ts';
import { type HaltingGateway, type HaltPoint, startHaltingGateway } from '../harness/halting-gateway.ts';
import { type Agent, readBooks, tokenBalance } from './fixtures.ts';

/** One database and one chain, for gateways that share them and may die. */
export type FaultLab = {
  database: TestDatabase;
  anvil: Anvil;
  start(options?: Pick<TestGatewayOptions, 'env' | 'change'>): Promise<TestGateway>;
  startHalting(options?: { haltJobsAt?: HaltPoint }): Promise<HaltingGateway>;
  close(): Promise<void>;
};

/** What the chain harness gives the wallet that settles. */
const WALLET_WEI = 100n * 10n ** 18n;

export async function startFaultLab(): Promise<FaultLab> {
  const [database, anvil] = await Promise.all([createTestDatabase(), startAnvil({ log: silentLog })]);
  // One installation: what one gateway signs, the others' keys verify.
  const env = { RECEIPT_KEY: newReceiptKeyPem() };
  const closing: (() => Promise<void>)[] = [];
  return {
    database,
    anvil,
    async start(options = {}) {
      const gateway = await startTestGateway({
        ...{ database, anvil, ...options },
        env: { ...env, ...options.env },
      });
      closing.push(gateway.close);
      return gateway;
    },
    async startHalting(options = {}) {
      const gateway = await startHaltingGateway({ database, anvil, env, ...options });
      closing.push(gateway.kill);
      return gateway;
    },
    async close() {
      for (const close of closing) await close();
      await Promise.all([anvil.close(), database.close()]);
    },
  };
}

export type ClaimRow = {
  id: string;
  state: string;
  answerState: string;
  mode: string;
  reference: string | null;
  failure: { problem: string; detail: string } | null;
};

/** The claims of an agent's payments, oldest first, without those that stayed unused. */
export function readClaims(lab: FaultLab, agent: Agent): Promise<ClaimRow[]> {
  return readRows(lab, agent, false);
}

/** Those that stayed unused, as an earlier one bought the same. */
export function readAttached(lab: FaultLab, agent: Agent): Promise<ClaimRow[]> {
  return readRows(lab, agent, true);
}

function readRows({ database }: FaultLab, agent: Agent, isAttached: boolean): Promise<ClaimRow[]> {
  return database.sql<ClaimRow[]>`
    SELECT id, state, answer_state, mode, reference, failure FROM payment_claim
    WHERE payer LIKE ${`%:${agent.account.address.toLowerCase()}`} AND (attached_to IS NOT NULL) = ${isAttached}
    ORDER BY created_at`;
}

/**
 * The books, proved three ways: by the ledger's own check, by hand from the journal, and against the chain.
 * Nothing may be left half done.
 */
export async function expectTrueBooks(lab: FaultLab, gateway: GatewayClient): Promise<void> {
  const books = await readBooks(gateway);
  expect(books.discrepancies).toEqual([]);
  expect(books.balanced).toBe(true);
  expect(await readLeftovers(lab)).toEqual({ holds: 0n, claims: 0n, exposures: 0n });

  const { sql } = lab.database;
  const wrong = await sql`
    SELECT p.id, p.balance, p.held, j.balance AS proven FROM ledger_payer p LEFT JOIN LATERAL (
      SELECT coalesce(sum(amount) FILTER (WHERE credit_id = p.id), 0)
        - coalesce(sum(amount + fee) FILTER (WHERE debit_id = p.id), 0) AS balance
      FROM ledger_entry WHERE p.id IN (debit_id, credit_id)) j ON true
    WHERE p.balance <> j.balance OR p.held <> 0`;
  expect([...wrong]).toEqual([]);
  const [counts] = await sql<{ captured: bigint; receipts: bigint }[]>`
    SELECT (SELECT count(*) FROM ledger_hold WHERE state = 'captured') AS captured,
      (SELECT count(*) FROM receipt) AS receipts`;
  expect(counts?.receipts).toBe(counts?.captured);

  const walletAddress = privateKeyToAddress(lab.anvil.gatewayWalletKey);
  const wallet = BigInt(String(await lab.anvil.rpc('eth_getBalance', [walletAddress, 'latest'])));
  expect(await sumOwned(lab, 'A.evm:%')).toBe(await tokenBalance(lab.anvil, lab.anvil.payTo));
  expect(await sumOwned(lab, 'A.gas:%')).toBe(wallet - WALLET_WEI);
}

/** What we own on accounts of these names, by the journal: debits less credits. */
async function sumOwned({ database }: FaultLab, names: string): Promise<bigint> {
  const [row] = await database.sql<{ owned: bigint }[]>`
    SELECT coalesce(sum(CASE WHEN a.id = e.debit_id THEN e.amount ELSE -e.amount END), 0)::bigint AS owned
    FROM ledger_entry e JOIN ledger_account a ON a.id IN (e.debit_id, e.credit_id) WHERE a.name LIKE ${names}`;
  return row?.owned ?? 0n;
}

async function readLeftovers({ database }: FaultLab) {
  const [row] = await database.sql<{ holds: bigint; claims: bigint; exposures: bigint }[]>`
    SELECT (SELECT count(*) FROM ledger_hold WHERE state = 'held') AS holds,
      (SELECT count(*) FROM payment_claim WHERE state IN ('running', 'settling')) AS claims,
      (SELECT count(*) FROM ledger_exposure WHERE state IN ('authorised', 'settling', 'unknown')) AS exposures`;
  return { ...row };
}

/** The same request with further headers. */
export function withHeaders(request: RequestInit, headers: Record<string, string>): RequestInit {
  return { ...request, headers: { ...(request.headers as Record<string, string>), ...headers } };
}

/** What happens around the runs of a gateway's tools; `runs` lists the label of each. */
export type RunHooks = {
  runs: string[];
  before?: ((label: string) => Promise<void> | void) | undefined;
  after?: ((label: string) => Promise<void> | void) | undefined;
};

/** Lets hooks stand around every run of a gateway. */
export function hookRuns(http: TestGateway['deps']['http'], hooks: RunHooks): void {
  const { execution } = http;
  http.execution = {
    ...execution,
    async run(call, signal) {
      const label = labelOf(call);
      hooks.runs.push(label);
      await hooks.before?.(label);
      const outcome = await execution.run(call, signal);
      await hooks.after?.(label);
      return outcome;
    },
  };
}
