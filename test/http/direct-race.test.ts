import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { createAgent, jsonBody } from '../e2e/fixtures.ts';
import { balanceOf, bearer, expectBalancedBooks, times } from '../e2e/surface.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';

let database: TestDatabase;
let anvil: Anvil;
let gateways: [TestGateway, TestGateway];

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  const options = { database, anvil };
  gateways = [await startTestGateway(options), await startTestGateway(options)];
});
afterAll(async () => {
  await expectBalancedBooks(gateways[0]);
  await Promise.all(gateways.map((gateway) => gateway.close()));
  await anvil.close();
  await database.close();
});

const example = (index: number, headers: Record<string, string>) =>
  gateways[index % 2 === 0 ? 0 : 1].fetch('/v1/example', { headers });

async function childOf(key: string, caps: Record<string, unknown>): Promise<{ key: string; id: string }> {
  const made = await gateways[0].fetch('/v1/keys', jsonBody({ scopes: ['example'], ...caps }, bearer(key)));
  const child = (await made.json()) as { key: string; key_id: string; id: string };
  if (!made.ok) throw new Error(JSON.stringify(child));
  return { key: child.key, id: child.id ?? child.key_id };
}

test('after a revocation was answered neither of two gateways serves another call, in whatever storm', async () => {
  for (let round = 0; round < 5; round += 1) {
    const key = await gateways[0].mint(1_000_000);
    const child = await childOf(key, {});
    let revokedAt = Number.POSITIVE_INFINITY;
    const served: number[] = [];
    const callers = times(20, async (index) => {
      for (let call = 0; call < 15; call += 1) {
        const startedAt = performance.now();
        const response = await example(index, bearer(child.key));
        await response.text();
        if (response.status === 200) served.push(startedAt);
        else expect(response.status).toBe(401);
      }
    });
    await new Promise((done) => setTimeout(done, 10 * round));
    const path = `/v1/keys/${child.id}/revoke`;
    const revoked = await gateways[round % 2 === 0 ? 0 : 1].fetch(path, {
      method: 'POST',
      headers: bearer(key),
    });
    expect(revoked.status).toBe(200);
    revokedAt = performance.now();
    await Promise.all(callers);
    expect(served.filter((startedAt) => startedAt > revokedAt)).toEqual([]);
    expect(await balanceOf(gateways[0], key)).toBe(1_000_000 - 100 * served.length);
  }
});

test("a child's cap is exact when two gateways are called by it at once, and what is refused costs nothing", async () => {
  const key = await gateways[0].mint(1_000_000);
  const child = await childOf(key, { caps: { total_mcents: 730 } });
  const answers = await Promise.all(times(60, (index) => example(index, bearer(child.key))));
  const statuses = answers.map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(7);
  expect(await balanceOf(gateways[1], key)).toBe(1_000_000 - 700);
});

test('forged payments in the name of somebody else take nothing from what that payer may call', async () => {
  const agent = await createAgent(anvil);
  const signed = await agent.sign(await example(0, {}));
  const [name = '', value = ''] = Object.entries(signed)[0] ?? [];
  const payment = JSON.parse(Buffer.from(value, 'base64').toString());
  const { payer } = gateways[0].deps.http.traffic;
  const asked: string[] = [];
  const { take } = payer;
  payer.take = (subject) => {
    asked.push(subject);
    return take(subject);
  };
  const { signature } = payment.payload;
  const forgeries = [
    signature.replace(/.{6}$/, '000000'),
    `0x${'00'.repeat(65)}`,
    `0x${'11'.repeat(64)}1b`,
    '0x',
    `${signature.slice(0, -2)}${signature.endsWith('1b') ? '1c' : '1b'}`,
  ];
  for (const forged of forgeries) {
    const told = { ...payment, payload: { ...payment.payload, signature: forged } };
    const header = { [name]: Buffer.from(JSON.stringify(told)).toString('base64') };
    expect((await example(0, header)).status).toBe(402);
  }
  expect(asked).toEqual([]);
  expect((await example(0, signed)).status).toBe(200);
  expect(asked).toHaveLength(1);
  // Nor do repetitions of a payment that everybody can read on the chain.
  await Promise.all(times(10, () => example(0, signed)));
  payer.take = take;
  expect(asked).toHaveLength(1);
});
