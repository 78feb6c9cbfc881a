import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { creditStrays } from '../../src/gateway/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import {
  expectTrueBooks,
  type FaultLab,
  hookRuns,
  type RunHooks,
  readClaims,
  startFaultLab,
  withHeaders,
} from './fault-lab.ts';
import { type Agent, createAgent, drain, jsonBody, publishEcho, readAnswer } from './fixtures.ts';
import { broadcastForeign } from './third-party.ts';

const PRICE_UNITS = 500n;
const SIGNUP_UNITS = 100_000n;
const OWNED = 10_000_000n;

let lab: FaultLab;
let gateways: [TestGateway, TestGateway];
let tool: { call: string; id: string };
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startFaultLab();
  const change = ({ http }: TestGateway['deps']) => {
    hookRuns(http, hooks);
    http.settings = { ...http.settings, settleTimeoutMs: 1_500, outcomeWaitMs: 3_000 };
  };
  gateways = [await lab.start({ change }), await lab.start({ change })];
  tool = await publishEcho(gateways[0]);
});
afterEach(async () => {
  hooks.before = undefined;
  await lab.anvil.rpc('evm_setAutomine', [true]);
});
afterAll(async () => {
  await expectTrueBooks(lab, gateways[1]);
  await lab.close();
});

/** One thing an agent asks for, twice: what it was answered first never reached it. */
type Asked = { agent: Agent; path: string; request: RequestInit; owed: string };

async function signFor({ agent, path, request }: Omit<Asked, 'owed'>): Promise<Record<string, string>> {
  return agent.sign(await gateways[0].fetch(path, request));
}

let calls = 0;

async function leaveCall(): Promise<Asked> {
  calls += 1;
  const label = `call ${calls}`;
  const request = jsonBody({ tool: 'random', arguments: { label } });
  const asked = { agent: await createAgent(lab.anvil), path: tool.call, request };
  const paid = withHeaders(request, await signFor(asked));
  const client = new AbortController();
  hooks.before = async () => {
    client.abort();
    await waitUntil(async () => (await readClaims(lab, asked.agent))[0]?.answerState === 'lost');
  };
  await gateways[0].fetch(tool.call, { ...paid, signal: client.signal }).catch(() => {});
  const claim = await waitUntil(async () => {
    const [first] = await readClaims(lab, asked.agent);
    return first?.state === 'delivered' ? first : undefined;
  });
  hooks.before = undefined;
  return { ...asked, owed: claim.id };
}

async function leaveSignup(): Promise<Asked> {
  const request = jsonBody({ label: 'slow' });
  const asked = { agent: await createAgent(lab.anvil), path: '/v1/signup', request };
  const paid = withHeaders(request, await signFor(asked));
  await lab.anvil.rpc('evm_setAutomine', [false]);
  expect((await gateways[0].fetch(asked.path, paid)).status).toBe(503);
  await lab.anvil.rpc('evm_mine');
  await lab.anvil.rpc('evm_setAutomine', [true]);
  const [claim] = await readClaims(lab, asked.agent);
  return { ...asked, owed: claim?.id ?? '' };
}

const CASES = [
  ['a call', leaveCall, PRICE_UNITS],
  ['a key', leaveSignup, SIGNUP_UNITS],
] as const;

describe('who signs again for what it has paid for', () => {
  test.each(CASES)(
    'is given %s, and is not charged however often it repeats that',
    async (_what, leave, units) => {
      const asked = await leave();
      const again = withHeaders(asked.request, await signFor(asked));
      const answers = [];
      for (const gateway of [...gateways, ...gateways]) {
        const response = await gateway.fetch(asked.path, again);
        expect(response.status).toBe(200);
        answers.push(await readAnswer(response));
      }
      expect(new Set(answers.map(({ key, receipt_id }) => key ?? receipt_id)).size).toBe(1);
      expect(await readClaims(lab, asked.agent)).toHaveLength(1);
      expect(OWNED - (await asked.agent.owns())).toBe(units);
    },
  );

  test.each(CASES)(
    'is given %s once for 20 copies of its second payment at once',
    async (_what, leave, units) => {
      const asked = await leave();
      const again = withHeaders(asked.request, await signFor(asked));
      const copies = Array.from({ length: 20 }, (_, index) =>
        gateways[index % 2 ? 1 : 0].fetch(asked.path, again),
      );
      const responses = await Promise.all(copies);
      const others = responses.filter(({ status }) => status !== 200);
      expect(others.filter(({ status }) => status !== 409)).toEqual([]);
      const answers = await Promise.all(responses.filter(({ ok }) => ok).map(readAnswer));
      expect(new Set(answers.map(({ key, receipt_id }) => key ?? receipt_id)).size).toBe(1);
      expect(await readClaims(lab, asked.agent)).toHaveLength(1);
      expect(OWNED - (await asked.agent.owns())).toBe(units);
    },
  );

  test('pays for what it asks a third time, as both before are answered', async () => {
    const asked = await leaveCall();
    await gateways[0].fetch(asked.path, withHeaders(asked.request, await signFor(asked)));
    const third = await gateways[0].fetch(asked.path, withHeaders(asked.request, await signFor(asked)));
    expect((await readAnswer(third)).receipt_id).not.toBe(asked.owed);
    expect(OWNED - (await asked.agent.owns())).toBe(2n * PRICE_UNITS);
  });

  test('cannot use the second payment for another request, and whoever lacks its challenge is given nothing', async () => {
    const asked = await leaveCall();
    const credential = await signFor(asked);
    expect((await gateways[0].fetch(asked.path, withHeaders(asked.request, credential))).status).toBe(200);
    const other = jsonBody({ tool: 'random', arguments: { label: 'another' } });
    const refused = await gateways[1].fetch(asked.path, withHeaders(other, credential));
    expect(refused.status).toBe(409);
    expect((await readAnswer(refused)).type).toMatch(/credential-used$/);
    expect(refused.headers.get('payment-required')).toBeNull();
    const copied = await gateways[1].fetch(asked.path, withHeaders(asked.request, withoutEcho(credential)));
    expect(copied.status).toBe(409);
    expect(await copied.json()).not.toHaveProperty('result');
    expect(OWNED - (await asked.agent.owns())).toBe(PRICE_UNITS);
  });

  test('is not charged for the second payment once its purse is filled again', async () => {
    const asked = await leaveCall();
    const credential = await signFor(asked);
    const owned = await asked.agent.owns();
    await drain(lab.anvil, asked.agent);
    const again = withHeaders(asked.request, credential);
    expect((await readAnswer(await gateways[0].fetch(asked.path, again))).receipt_id).toBe(asked.owed);
    await lab.anvil.mint(asked.agent.account.address, owned);
    expect((await readAnswer(await gateways[1].fetch(asked.path, again))).receipt_id).toBe(asked.owed);
    expect(await asked.agent.owns()).toBe(owned);
  });

  test('has credit for the second payment when somebody else brings it to its chain', async () => {
    const { http } = gateways[0].deps;
    const look = () => creditStrays(http, AbortSignal.timeout(10_000));
    await look();
    const asked = await leaveCall();
    const credential = await signFor(asked);
    const again = withHeaders(asked.request, credential);
    expect((await gateways[0].fetch(asked.path, again)).status).toBe(200);
    await broadcastForeign(lab.anvil, credential);
    await lab.anvil.rpc('anvil_mine', ['0x80']);
    await look();
    const states = (await readClaims(lab, asked.agent)).map(({ state }) => state);
    expect(states).toEqual(['delivered', 'failed']);
    expect((await gateways[1].fetch(asked.path, again)).status).toBe(409);
  });
});

/** The payment alone, as it is read on its chain. */
function withoutEcho(credential: Record<string, string>): Record<string, string> {
  const header = Buffer.from(credential['PAYMENT-SIGNATURE'] ?? '', 'base64').toString();
  const { extensions: _, ...payment } = JSON.parse(header) as Record<string, unknown>;
  return { 'PAYMENT-SIGNATURE': Buffer.from(JSON.stringify(payment)).toString('base64') };
}
