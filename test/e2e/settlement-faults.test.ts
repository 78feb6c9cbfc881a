import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { uuidFrom } from '../../src/core/ids.ts';
import type { Queryable } from '../../src/db/index.ts';
import { creditLateArrivals } from '../../src/gateway/index.ts';
import { findClaim } from '../../src/payments/index.ts';
import type { Rail } from '../../src/payments/rail.ts';
import { type RpcProxy, startRpcProxy } from '../chain/rpc-proxy.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import {
  type ClaimRow,
  expectTrueBooks,
  type FaultLab,
  hookRuns,
  type RunHooks,
  readAttached,
  readClaims,
  startFaultLab,
  withHeaders,
} from './fault-lab.ts';
import { type Agent, createAgent, drain, jsonBody, publishEcho, readAnswer } from './fixtures.ts';
import { broadcastForeign, drainFirst } from './third-party.ts';

const PRICE_UNITS = 500n;
/** Of the tools that have no price of their own. */
const OTHER_PRICE_UNITS = 2_500n;
const SETTLE_TIMEOUT_MS = 1_500;

let lab: FaultLab;
let proxy: RpcProxy;
let gateway: TestGateway;
let path: string;
let calls = 0;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startFaultLab();
  proxy = await startRpcProxy(lab.anvil.rpcUrl);
  gateway = await lab.start({
    env: { EVM_RPC_URL: proxy.url },
    change({ http }) {
      hookRuns(http, hooks);
      http.settings = { ...http.settings, settleTimeoutMs: SETTLE_TIMEOUT_MS, outcomeWaitMs: 3_000 };
    },
  });
  path = (await publishEcho(gateway)).call;
});
afterEach(async () => {
  hooks.before = undefined;
  hooks.after = undefined;
  proxy.decide(() => 'pass');
  await lab.anvil.rpc('evm_setAutomine', [true]);
});
afterAll(async () => {
  await waitUntil(async () => (await countOpen()) === 0n);
  await expectTrueBooks(lab, gateway);
  await lab.close();
  await proxy.close();
});

async function countOpen(): Promise<bigint> {
  const [row] = await lab.database.sql<{ count: bigint }[]>`
    SELECT count(*) AS count FROM payment_claim WHERE state IN ('running', 'settling')`;
  return row?.count ?? 0n;
}

/** One call of an agent of its own, and the credential that pays it. */
type PaidCall = {
  agent: Agent;
  label: string;
  request: RequestInit;
  credential: Record<string, string>;
  owned: bigint;
  send(): Promise<Response>;
  paid(): Promise<bigint>;
  claim(): Promise<ClaimRow | undefined>;
};

async function prepare(request?: { path: string; init: RequestInit }, dollars?: number): Promise<PaidCall> {
  const agent = await createAgent(lab.anvil, dollars);
  calls += 1;
  const label = `call ${calls}`;
  const init = request?.init ?? jsonBody({ tool: 'random', arguments: { label } });
  const where = request?.path ?? path;
  const credential = await agent.sign(await gateway.fetch(where, init));
  const owned = await agent.owns();
  return {
    ...{ agent, label, request: init, credential, owned },
    send: () => gateway.fetch(where, withHeaders(init, credential)),
    paid: async () => owned - (await agent.owns()),
    claim: async () => (await readClaims(lab, agent)).at(-1),
  };
}

const runsOf = ({ label }: PaidCall) => hooks.runs.filter((run) => run === label).length;

/** What a payer is told while nobody knows: never a challenge, and when to ask again. */
async function expectUnknown(response: Response, type: string) {
  const body = await readAnswer(response);
  expect([response.status, body.type]).toEqual([503, `https://millicent.dev/problems/${type}`]);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(response.headers.get('payment-required')).toBeNull();
  expect(body).not.toHaveProperty('result');
  return body;
}

async function expectDelivered(call: PaidCall, response: Response) {
  const body = await readAnswer(response);
  expect(response.status, JSON.stringify(body)).toBe(200);
  expect(await call.paid()).toBe(PRICE_UNITS);
  expect(runsOf(call)).toBe(1);
  return body;
}

const untilState = (call: PaidCall, state: string) =>
  waitUntil(async () => ((await call.claim())?.state === state ? call.claim() : undefined));

describe('the node of the chain', () => {
  test('down before anything was claimed: 503 without a challenge, nothing taken, and it pays later', async () => {
    const call = await prepare();
    proxy.decide(() => 'refuse');
    const body = await expectUnknown(await call.send(), 'unavailable');
    expect(body.note).toBe('no charge applied');
    expect(await call.claim()).toBeUndefined();
    proxy.decide(() => 'pass');
    await expectDelivered(call, await call.send());
  });

  test.each(['refuse', 'trouble', 'hold'] as const)(
    'gone before the broadcast (%s): 503 in a bounded time, and one charge once it is back',
    async (fate) => {
      const call = await prepare();
      hooks.after = () => proxy.decide(() => fate);
      const startedAt = performance.now();
      const body = await expectUnknown(await call.send(), 'outcome-unknown');
      expect(performance.now() - startedAt).toBeLessThan(SETTLE_TIMEOUT_MS + 2_500);
      expect(body).toMatchObject({ receipt_id: (await call.claim())?.id });
      expect(await call.paid()).toBe(0n);
      proxy.decide(() => 'pass');
      await untilState(call, 'delivered');
      await expectDelivered(call, await call.send());
    },
  );

  test('gone for days: the delay between attempts stays in bounds, and the call is settled', async () => {
    const call = await prepare();
    hooks.after = () => proxy.decide(() => 'refuse');
    await expectUnknown(await call.send(), 'outcome-unknown');
    await lab.database
      .sql`UPDATE payment_claim SET attempts = 100000 WHERE id = ${(await call.claim())?.id ?? ''}`;
    proxy.decide(() => 'pass');
    await untilState(call, 'delivered');
    await expectDelivered(call, await call.send());
  });

  test('losing only the answer to the broadcast costs nothing', async () => {
    const call = await prepare();
    hooks.after = () => proxy.decide((method) => (method === 'eth_sendRawTransaction' ? 'swallow' : 'pass'));
    await expectDelivered(call, await call.send());
  });

  test('taking the broadcast and going silent: 503, then the answer, charged once', async () => {
    const call = await prepare();
    let isSilent = false;
    hooks.after = () =>
      proxy.decide((method) => {
        isSilent ||= method === 'eth_sendRawTransaction';
        return isSilent ? 'swallow' : 'pass';
      });
    await expectUnknown(await call.send(), 'outcome-unknown');
    expect(await call.paid()).toBe(PRICE_UNITS);
    // While nobody knows, showing the payment again does not ask for another one.
    await expectUnknown(await call.send(), 'outcome-unknown');
    proxy.decide(() => 'pass');
    await untilState(call, 'delivered');
    await expectDelivered(call, await call.send());
  });

  test('gone until the authorization can never be mined: the result is destroyed and nobody has paid', async () => {
    const call = await prepare();
    hooks.after = () => proxy.decide(() => 'refuse');
    await expectUnknown(await call.send(), 'outcome-unknown');
    const snapshot = await lab.anvil.rpc('evm_snapshot');
    await lab.anvil.rpc('evm_increaseTime', [3_600]);
    await lab.anvil.rpc('anvil_mine', ['0x4']);
    proxy.decide(() => 'pass');
    const claim = await untilState(call, 'failed');
    expect(claim).toMatchObject({ reference: null, failure: { problem: 'payment-required' } });
    const answers = await lab.database.sql`SELECT id FROM payment_answer WHERE id = ${claim.id}`;
    expect(answers).toHaveLength(0);
    expect(await call.paid()).toBe(0n);
    const response = await call.send();
    expect(response.status).toBe(402);
    expect(response.headers.get('payment-required')).toBeTruthy();
    await lab.anvil.rpc('evm_revert', [snapshot]);
  });
});

describe('a chain that mines nothing for a while', () => {
  test('leaves a call unknown and unbooked, and then delivers it to whoever signs again', async () => {
    const call = await prepare();
    hooks.after = async () => {
      await lab.anvil.rpc('evm_setAutomine', [false]);
    };
    await expectUnknown(await call.send(), 'outcome-unknown');
    const { id } = (await call.claim()) ?? {};
    const memo = await lab.database.sql`SELECT state FROM ledger_exposure WHERE id = ${id ?? ''}`;
    expect([...memo]).toEqual([{ state: 'unknown' }]);
    expect(await countEntries(id ?? '')).toBe(0n);
    const again = call.agent.fetch(gateway.url + path, call.request);
    await waitUntil(async () => (await readAttached(lab, call.agent))[0]?.answerState === 'waiting');
    await lab.anvil.rpc('evm_mine');
    await lab.anvil.rpc('evm_setAutomine', [true]);
    const body = await expectDelivered(call, await again);
    expect(body.receipt_id).toBe(id);
    expect(await readAnswer(await call.send())).toEqual(body);
    expect(await readClaims(lab, call.agent)).toHaveLength(1);
  });

  test('leaves a signup unknown, and then gives the one key to whoever signs again', async () => {
    const init = jsonBody({ label: 'slow' });
    const call = await prepare({ path: '/v1/signup', init });
    await lab.anvil.rpc('evm_setAutomine', [false]);
    await expectUnknown(await call.send(), 'outcome-unknown');
    await lab.anvil.rpc('evm_mine');
    await lab.anvil.rpc('evm_setAutomine', [true]);
    const again = await call.agent.fetch(`${gateway.url}/v1/signup`, init);
    const { key } = await readAnswer(again);
    expect(key).toMatch(/^mcp_/);
    expect(await readAnswer(await call.send())).toMatchObject({ key });
    expect(await call.paid()).toBe(100_000n);
  });
});

async function countEntries(id: string): Promise<bigint> {
  const [row] = await lab.database.sql<{ count: bigint }[]>`
    SELECT count(*) AS count FROM ledger_entry WHERE transfer_id = ${id}`;
  return row?.count ?? 0n;
}

describe('a payer who gets away with its money after the run', () => {
  test('is not given the result, is asked for a payment, and counts as a loss', async () => {
    const call = await prepare();
    hooks.before = () => drain(lab.anvil, call.agent);
    for (const response of [await call.send(), await call.send()]) {
      expect(response.status).toBe(402);
      expect(response.headers.get('payment-required')).toBeTruthy();
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect(await response.json()).not.toHaveProperty('result');
    }
    expect(runsOf(call)).toBe(1);
    const claim = await call.claim();
    expect(claim).toMatchObject({ state: 'failed', reference: null });
    expect(await readLoss(claim?.id ?? '')).toEqual([{ state: 'void', isLoss: 1 }]);
    const answers = await lab.database.sql`SELECT id FROM payment_answer WHERE id = ${claim?.id ?? ''}`;
    expect(answers).toHaveLength(0);
  });

  test('while the settlement waits to be mined: its gas is booked once, and what arrives late is credit', async () => {
    const call = await prepare();
    hooks.after = async () => {
      await lab.anvil.rpc('evm_setAutomine', [false]);
    };
    const broadcasts = proxy.count('eth_sendRawTransaction');
    const running = call.send();
    await waitUntil(() => proxy.count('eth_sendRawTransaction') > broadcasts);
    await drainFirst(lab.anvil, call.agent.account.address, call.owned);
    await lab.anvil.rpc('evm_mine');
    await lab.anvil.rpc('evm_setAutomine', [true]);
    expect((await running).status).toBe(402);
    expect(await readLoss((await call.claim())?.id ?? '')).toEqual([{ state: 'void', isLoss: 1 }]);
    await expectTrueBooks(lab, gateway);

    await lab.anvil.mint(call.agent.account.address, PRICE_UNITS);
    const reference = await broadcastForeign(lab.anvil, call.credential);
    await expectLateCredit(call, reference);
  });
});

async function readLoss(id: string) {
  const rows = await lab.database.sql`SELECT state, is_loss FROM ledger_exposure WHERE id = ${id}`;
  return [...rows];
}

const creditOf = (call: PaidCall) =>
  gateway.deps.http.ledger.balance(
    uuidFrom('payer', `eip155:${lab.anvil.chainId}:${call.agent.account.address.toLowerCase()}`),
  );

/** The job finds the payment once its time is over, credits it once, and it still buys nothing. */
async function expectLateCredit(call: PaidCall, reference: string, units = PRICE_UNITS): Promise<void> {
  const claim = await call.claim();
  const look = () => creditLateArrivals(gateway.deps.http, AbortSignal.timeout(10_000));
  await look();
  expect((await call.claim())?.reference).toBeNull();
  for (let round = 0; round < 2; round += 1) {
    // The job goes by the database's clock, and nothing but this row says when the payment's time is over.
    await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now(),
      intent = jsonb_set(intent, '{validUntil}', '"2020-01-01T00:00:00.000Z"') WHERE id = ${claim?.id ?? ''}`;
    await look();
    expect(await call.claim()).toMatchObject({ state: 'failed', reference });
    expect(await creditOf(call)).toMatchObject({ balance: units / 10n, held: 0n });
  }
  const response = await call.send();
  expect(response.status).toBe(409);
  expect(runsOf(call)).toBe(1);
  await expectTrueBooks(lab, gateway);
}

describe('a stranger who broadcasts the authorization', () => {
  test('before we claimed it: 409, credited to its payer once, and never served', async () => {
    const call = await prepare();
    const reference = await broadcastForeign(lab.anvil, call.credential);
    const responses = await Promise.all([call.send(), call.send()]);
    for (const response of [...responses, await call.send()]) {
      expect(response.status).toBe(409);
      expect(response.headers.get('payment-required')).toBeNull();
      expect(await response.json()).not.toHaveProperty('result');
    }
    expect(runsOf(call)).toBe(0);
    expect(await call.claim()).toMatchObject({ state: 'failed', reference });
    expect(await creditOf(call)).toMatchObject({ balance: PRICE_UNITS / 10n, held: 0n });
  });

  test('while the call runs: it is served once and booked by the transaction that paid', async () => {
    const call = await prepare();
    let reference = '';
    hooks.before = async () => {
      reference = await broadcastForeign(lab.anvil, call.credential);
    };
    await expectDelivered(call, await call.send());
    expect(await call.claim()).toMatchObject({ state: 'delivered', reference });
  });

  test('after the tool failed and the payment was let go: it becomes its payer’s credit', async () => {
    const call = await prepare({ path, init: jsonBody({ tool: 'fail', arguments: { label: 'let go' } }) }, 1);
    expect((await call.send()).status).toBe(502);
    const reference = await broadcastForeign(lab.anvil, call.credential);
    await expectLateCredit({ ...call, label: 'let go' }, reference, OTHER_PRICE_UNITS);
  });
});

test('a payment that cannot be looked at keeps no other one from being credited', async () => {
  const letGo = async (label: string) => {
    const call = await prepare({ path, init: jsonBody({ tool: 'fail', arguments: { label } }) }, 1);
    expect((await call.send()).status).toBe(502);
    const reference = await broadcastForeign(lab.anvil, call.credential);
    return { call, reference, id: (await call.claim())?.id ?? '' };
  };
  const [broken, good] = [await letGo('broken'), await letGo('good')];
  // The broken one is due first.
  for (const { id } of [broken, good]) {
    await lab.database.sql`UPDATE payment_claim SET next_attempt_at = clock_timestamp(),
      intent = jsonb_set(intent, '{validUntil}', '"2020-01-01T00:00:00.000Z"') WHERE id = ${id}`;
  }
  const { http } = gateway.deps;
  const { claimKey } = (await findClaim(http.sql, broken.id)) ?? { claimKey: '' };
  const rails = http.rails.map(
    (rail): Rail => ({
      ...rail,
      lookup: (intent, signal) =>
        intent.claimKey === claimKey ? Promise.reject(new Error('broken')) : rail.lookup(intent, signal),
    }),
  );
  await creditLateArrivals({ ...http, rails }, AbortSignal.timeout(10_000));
  expect(await good.call.claim()).toMatchObject({ reference: good.reference });
  // And the broken one is looked at again, once its lease is over.
  await lab.database
    .sql`UPDATE payment_claim SET next_attempt_at = clock_timestamp() WHERE id = ${broken.id}`;
  await creditLateArrivals(http, AbortSignal.timeout(10_000));
  expect(await broken.call.claim()).toMatchObject({ reference: broken.reference });
});

/** The server gives up on a statement, as it does when a disk is full or an operator stops it. */
async function refuse(queryable: Queryable): Promise<never> {
  await queryable`SELECT 1 / 0`;
  throw new Error('the statement went through');
}

/** Makes the database refuse whenever the gateway gets there, until what it answers is called. */
const refuseAt = {
  storing() {
    const { http } = gateway.deps;
    const { answers } = http;
    http.answers = { ...answers, store: (tx) => refuse(tx) };
    return () => void Object.assign(http, { answers });
  },
  booking() {
    const { http } = gateway.deps;
    const { receipts } = http;
    http.receipts = { ...receipts, append: (tx) => refuse(tx) };
    return () => void Object.assign(http, { receipts });
  },
  receipt() {
    const { http } = gateway.deps;
    const { receipts } = http;
    http.receipts = { ...receipts, getReceipt: () => refuse(http.sql) };
    return () => void Object.assign(http, { receipts });
  },
  balance() {
    const { http } = gateway.deps;
    const { ledger } = http;
    http.ledger = { ...ledger, balance: () => refuse(http.sql) };
    return () => void Object.assign(http, { ledger });
  },
};

describe('the database refuses a statement', () => {
  test('while the outcome is stored: nothing is charged, and the next call is an ordinary one', async () => {
    const call = await prepare();
    const mend = refuseAt.storing();
    const body = await readAnswer(await call.send());
    mend();
    expect(body).toMatchObject({ status: 503, note: 'no charge applied' });
    expect(await call.claim()).toMatchObject({ state: 'failed', reference: null });
    expect((await call.send()).status).toBe(402);
    expect(await call.paid()).toBe(0n);
    expect((await call.agent.fetch(gateway.url + path, call.request)).status).toBe(200);
    expect(await call.paid()).toBe(PRICE_UNITS);
  });

  test('while an outcome under an Idempotency-Key is stored: nothing is charged, and nothing stays on hold', async () => {
    const key = await gateway.mint(100);
    const headers = { authorization: `Bearer ${key}`, 'idempotency-key': 'broken' };
    const request = jsonBody({ tool: 'random', arguments: { label: 'broken' } }, headers);
    const mend = refuseAt.storing();
    const first = await gateway.fetch(path, request);
    mend();
    const note = 'no charge applied';
    expect(await first.json()).toMatchObject({ status: 503, note });
    expect(await (await gateway.fetch(path, request)).json()).toMatchObject({ status: 409, note });
    const { balance_mcents } = await readAnswer(await gateway.fetch('/v1/balance', { headers }));
    expect(balance_mcents).toBe(100);
  });

  test.each(['same', 'fresh'])(
    'after the money moved: 503, and the %s payment gets the answer, charged once',
    async (kind) => {
      const call = await prepare();
      const mend = refuseAt.booking();
      await expectUnknown(await call.send(), 'outcome-unknown');
      mend();
      expect(await call.paid()).toBe(PRICE_UNITS);
      if (kind === 'same') await untilState(call, 'delivered');
      const response = kind === 'same' ? call.send() : call.agent.fetch(gateway.url + path, call.request);
      await expectDelivered(call, await response);
      expect(await readClaims(lab, call.agent)).toHaveLength(1);
    },
  );

  test('before the answer: 503, and a fresh payment gets the answer, charged once', async () => {
    const call = await prepare();
    const mend = refuseAt.receipt();
    await expectUnknown(await call.send(), 'outcome-unknown');
    mend();
    await expectDelivered(call, await call.agent.fetch(gateway.url + path, call.request));
    expect(await readClaims(lab, call.agent)).toHaveLength(1);
  });

  test('before a new key is shown: 503, and a fresh payment is shown it, charged once', async () => {
    const init = jsonBody({ label: 'broken' });
    const call = await prepare({ path: '/v1/signup', init });
    const mend = refuseAt.balance();
    await expectUnknown(await call.send(), 'outcome-unknown');
    mend();
    const again = await readAnswer(await call.agent.fetch(`${gateway.url}/v1/signup`, init));
    expect(again.key).toMatch(/^mcp_/);
    expect(await call.paid()).toBe(100_000n);
  });
});
