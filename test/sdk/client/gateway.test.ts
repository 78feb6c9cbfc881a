import { createClient, type Hex, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { tempoModerato } from 'viem/tempo/chains';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Rails } from '../../../scripts/dev/rails.ts';
import {
  createPayingFetch,
  evmPayer,
  lightningPayer,
  type PayingFetchOptions,
  type RailName,
  stripePayer,
  tempoPayer,
} from '../../../src/sdk/client/index.ts';
import { jsonBody, publishEcho, readAnswer, readBooks } from '../../e2e/fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../../harness/database.ts';
import { startTestGateway, type TestGateway } from '../../harness/gateway.ts';
import { startTestRails } from '../../harness/rails.ts';

let rails: Rails;
let database: TestDatabase;
let gateway: TestGateway;
let tool: Awaited<ReturnType<typeof publishEcho>>;
let dearTool: typeof tool;
let tempoKey: Hex;

beforeAll(async () => {
  [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  gateway = await startTestGateway({ database, env: rails.environment });
  tool = await publishEcho(gateway);
  dearTool = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 50_000 } });
  tempoKey = await rails.tempo.fundPayer();
}, 60_000);
afterAll(async () => {
  await gateway?.close();
  await Promise.all([database?.close(), rails?.close()]);
});

/** An agent with a wallet on every rail. */
function agent(prefer: RailName[], changes: Partial<PayingFetchOptions> = {}) {
  const { anvil, tempo, lightning, stripe } = rails;
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [tempo.rpcUrl] as const } } };
  return createPayingFetch({
    payers: [
      evmPayer({
        account: privateKeyToAccount(anvil.payerPrivateKey),
        tokens: [{ network: `eip155:${anvil.chainId}`, address: anvil.token, decimals: 6 }],
      }),
      tempoPayer({
        account: privateKeyToAccount(tempoKey),
        getClient: () => createClient({ chain, transport: http(tempo.rpcUrl) }),
        tokens: [{ network: `eip155:${tempo.chainId}`, address: tempo.currency, decimals: 6 }],
      }),
      lightningPayer({ payInvoice, millicentsPerBitcoin: () => 10_000_000_000n }),
      stripePayer({
        createSpt: async ({ amountCents, currency, networkId, expiresAt }) =>
          stripe.grantToken({
            ...{ maxAmount: Number(amountCents), currency, networkId, paymentMethod: 'pm_card_visa' },
            expiresAt: Math.floor(expiresAt.getTime() / 1_000),
          }),
      }),
    ],
    prefer,
    limits: { perCall: 60_000n, perHour: 200_000n, total: 500_000n },
    allowedHosts: [new URL(gateway.url).host],
    ...changes,
  });

  async function payInvoice(invoice: string, signal: AbortSignal): Promise<string> {
    const response = await fetch(lightning.payUrl, { ...jsonBody({ invoice }), signal });
    const body = (await response.json()) as { preimage?: string; error?: string };
    if (body.preimage === undefined) throw new Error(body.error);
    return body.preimage;
  }
}

const call = (text: string) => jsonBody({ tool: 'echo', arguments: { text } });

test.each<[RailName, bigint]>([
  ['evm', 250n],
  ['tempo', 250n],
  // A satoshi is worth a tenth of a cent here, and the price is rounded up to whole ones.
  ['lightning', 300n],
  ['stripe', 50_000n],
])('a gateway is paid by %s: one call, its receipt, and the books agree', async (rail, mcents) => {
  const { fetch, spending } = agent([rail]);
  const { call: path } = rail === 'stripe' ? dearTool : tool;
  const response = await fetch(gateway.url + path, call(`by ${rail}`));
  const answer = await readAnswer(response);
  expect(response.status, JSON.stringify(answer)).toBe(200);
  expect(answer.result.structuredContent).toEqual({ text: `by ${rail}` });
  expect(response.payment).toMatchObject({
    ...{ rail, state: 'spent', mcents },
    ...{ receipt: answer.receipt, receiptId: answer.receipt_id, reference: expect.stringMatching(/.{8}/) },
  });
  expect(spending()).toMatchObject({ mcents, unknownMcents: 0n });
  expect(spending().byRail[rail]).toBe(mcents);
  expect(await readBooks(gateway)).toMatchObject({ balanced: true, discrepancies: [] });
});

test.each<RailName>(['evm', 'tempo', 'lightning'])(
  'a tool that fails costs nothing by %s, and the budget is whole again',
  async (rail) => {
    const { fetch, spending } = agent([rail]);
    const response = await fetch(gateway.url + tool.call, jsonBody({ tool: 'fail', arguments: {} }));
    expect([response.status, response.payment?.state]).toEqual([502, 'returned']);
    expect(await readAnswer(response)).toMatchObject({ note: 'no charge applied' });
    expect(spending()).toMatchObject({ mcents: 0n, sats: 0n });
  },
);

/** Makes the gateway lose the outcome of the calls it runs until what it answers is called. */
function loseOutcomes(): () => void {
  const { http: deps } = gateway.deps;
  const { answers } = deps;
  deps.answers = { ...answers, store: (tx) => tx`SELECT 1 / 0`.then(() => false) };
  return () => void Object.assign(deps, { answers });
}

test.each([
  { rail: 'evm', status: 402, state: 'returned' },
  { rail: 'stripe', status: 402, state: 'returned' },
  // Who asks by the token alone is never asked to pay: the wallet may be at it still.
  { rail: 'lightning', status: 409, state: 'returned' },
  { rail: 'key', status: 409, state: undefined },
] as const)(
  'a call by $rail that is cut off is free, and is not asked for until patience ends',
  async (cut) => {
    const { rail, status, state } = cut;
    const key = rail === 'key' ? { key: await gateway.mint(100_000) } : {};
    const { fetch, spending } = agent(rail === 'key' ? ['evm'] : [rail], key);
    const mend = loseOutcomes();
    const { call: path } = rail === 'stripe' ? dearTool : tool;
    const response = await fetch(gateway.url + path, call('cut off'));
    mend();
    expect([response.status, response.payment?.state]).toEqual([status, state]);
    expect(response.headers.get('retry-after')).toBeNull();
    expect(await readAnswer(response)).toMatchObject({ note: 'no charge applied' });
    expect(spending()).toMatchObject({ mcents: 0n, unknownMcents: 0n });
  },
);

/** What the gateway owns outside of its books, by account. */
async function readAssets(): Promise<Map<string, bigint>> {
  const { accounts } = await readBooks(gateway);
  const assets = accounts.filter(({ name }) => name.startsWith('A.') && !name.startsWith('A.gas'));
  return new Map(assets.map(({ name, balance }) => [name, BigInt(balance)]));
}

test.each<[RailName, bigint]>([
  ['evm', 2_500n],
  ['tempo', 2_500n],
  ['lightning', 3_000n],
])('an answer that is lost on its way is asked for again, and paid once by %s', async (rail, units) => {
  let losses = 2;
  const lossy: typeof globalThis.fetch = async (input, init) => {
    const response = await globalThis.fetch(input, init);
    if (response.status !== 200 || losses === 0) return response;
    losses -= 1;
    await response.body?.cancel();
    throw new TypeError('fetch failed');
  };
  const { fetch, spending } = agent([rail], { fetch: lossy });
  const before = await readAssets();
  const response = await fetch(gateway.url + tool.call, call('lost and found'));
  expect([response.status, losses, spending().unknownMcents]).toEqual([200, 0, 0n]);
  const after = await readAssets();
  // What we own is a debit, and debits are negative.
  const arrived = [...after].map(([name, balance]) => (before.get(name) ?? 0n) - balance);
  expect(arrived.filter((amount) => amount !== 0n)).toEqual([units]);
});

test('a signup is bought within the limits, and its key pays the calls that follow', async () => {
  const { fetch } = agent(['evm']);
  const signup = await fetch(`${gateway.url}/v1/signup`, jsonBody({}));
  expect(signup.payment).toMatchObject({ rail: 'evm', mcents: 10_000n, state: 'spent' });
  const { key } = await readAnswer(signup);
  const holder = agent(['evm'], { key });
  const response = await holder.fetch(`${gateway.url}/v1/example`);
  expect(response.payment).toMatchObject({ rail: 'key', mcents: 100n, state: 'spent' });
  const headers = { authorization: `Bearer ${key}` };
  const balance = await readAnswer(await gateway.fetch('/v1/balance', { headers }));
  expect(balance.balance_mcents).toBe(9_900);
});

test('an empty key goes along while a rail pays, whatever header that takes', async () => {
  const key = await gateway.mint(1);
  for (const rail of ['evm', 'tempo', 'lightning'] as const) {
    const { fetch, spending } = agent([rail], { key });
    const response = await fetch(gateway.url + tool.call, call(rail));
    expect([response.status, response.payment?.rail]).toEqual([200, rail]);
    expect(spending().byRail.key).toBe(0n);
  }
});

test('20 calls at once on a real gateway never exceed the total', async () => {
  const { fetch, spending } = agent(['evm'], { limits: { perCall: 250n, total: 1_000n } });
  const calls = Array.from({ length: 20 }, (_, index) => fetch(gateway.url + tool.call, call(`${index}`)));
  const settled = await Promise.allSettled(calls);
  const answers = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value.status] : []));
  expect(answers).toEqual([200, 200, 200, 200]);
  expect(spending()).toMatchObject({ mcents: 1_000n, unknownMcents: 0n });
});
