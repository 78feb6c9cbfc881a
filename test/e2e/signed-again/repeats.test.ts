import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { uuidFrom } from '../../../src/core/ids.ts';
import { withTransaction } from '../../../src/db/index.ts';
import { creditLateArrivals } from '../../../src/gateway/index.ts';
import { readAttached, withHeaders } from '../fault-lab.ts';
import { drain, jsonBody, publishEcho, readAnswer } from '../fixtures.ts';
import { broadcastForeign } from '../third-party.ts';
import {
  type Asked,
  credentialOf,
  holdRuns,
  OWNED,
  openScene,
  PRICE_UNITS,
  type Scene,
  SIGNUP_UNITS,
  withoutEcho,
} from './kit.ts';

let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
});
afterEach(() => scene.rest());
afterAll(() => scene.close());

/** Sends the same so often at once, to both gateways in turn. */
const crowd = (times: number, { path }: Asked, paid: RequestInit): Promise<Response[]> =>
  Promise.all(
    Array.from({ length: times }, (_, index) => scene.gateways[index % 2 ? 1 : 0].fetch(path, paid)),
  );

/** One answer, and nobody is told to pay. */
async function expectOneAnswer(responses: readonly Response[]): Promise<void> {
  const others = responses.filter(({ status }) => status !== 200);
  expect(others.filter(({ status }) => status !== 409)).toEqual([]);
  const answers = await Promise.all(responses.filter(({ ok }) => ok).map(readAnswer));
  expect(new Set(answers.map(({ key, receipt_id }) => key ?? receipt_id)).size).toBe(1);
}

const CASES = [
  ['a call', () => scene.leaveCall(), PRICE_UNITS],
  ['a key', () => scene.leaveSignup(), SIGNUP_UNITS],
] as const;

describe('who signs again for what it has paid for', () => {
  test.each(CASES)(
    'is given %s, and is not charged however often it repeats that',
    async (_what, leave, units) => {
      const asked = await leave();
      const again = await scene.sign(asked);
      const responses: Response[] = [];
      for (let times = 0; times < 4; times += 1) responses.push(...(await crowd(1, asked, again)));
      expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      await expectOneAnswer(responses);
      await scene.expectPaidOnce(asked, units);
    },
  );

  test.each(CASES)(
    'is given %s once for 20 copies of its second payment at once',
    async (_what, leave, units) => {
      const asked = await leave();
      await expectOneAnswer(await crowd(20, asked, await scene.sign(asked)));
      await scene.expectPaidOnce(asked, units);
    },
  );

  test('is given one call, or pays for a second one, when copies come while its first client leaves', async () => {
    for (let round = 0; round < 6; round += 1) {
      const asked = await scene.newCall();
      const { open } = holdRuns(scene.hooks);
      const leaving = scene.leaveAt(asked, 'running');
      await sleep(60 + 10 * round);
      const again = await scene.sign(asked);
      const copies = Array.from({ length: 10 }, async (_, index) => {
        await sleep(3 * index);
        return scene.gateways[index % 2 ? 1 : 0].fetch(asked.path, again);
      });
      await leaving;
      open();
      await expectOneAnswer(await Promise.all(copies));
      const rows = await scene.lab.database
        .sql`SELECT a.id FROM payment_claim a JOIN payment_claim b ON b.id = a.attached_to
        WHERE a.payer LIKE ${`%:${asked.agent.account.address.toLowerCase()}`} AND a.reference IS NOT NULL`;
      expect([...rows]).toEqual([]);
    }
  });

  test('pays for what it asks a third time, as both before are answered', async () => {
    const asked = await scene.leaveCall();
    const [second] = await crowd(1, asked, await scene.sign(asked));
    const [third] = await crowd(1, asked, await scene.sign(asked));
    const ids = await Promise.all(
      [second, third].map(async (each) => each && (await readAnswer(each)).receipt_id),
    );
    expect(ids[0]).not.toBe(ids[1]);
    expect(OWNED - (await asked.agent.owns())).toBe(2n * PRICE_UNITS);
  });

  test('cannot use the second payment for another request, and whoever lacks its challenge is given nothing', async () => {
    const asked = await scene.leaveCall();
    const again = await scene.sign(asked);
    expect((await scene.gateways[0].fetch(asked.path, again)).status).toBe(200);
    const other = jsonBody({ tool: 'random', arguments: { label: 'another' } });
    const credential = { 'PAYMENT-SIGNATURE': credentialOf(again) };
    const refused = await scene.gateways[1].fetch(asked.path, withHeaders(other, credential));
    expect(refused.status).toBe(409);
    expect((await readAnswer(refused)).type).toMatch(/credential-used$/);
    expect(refused.headers.get('payment-required')).toBeNull();
    const copied = await scene.gateways[1].fetch(asked.path, withoutEcho(asked.request, again));
    expect(copied.status).toBe(409);
    expect(await copied.json()).not.toHaveProperty('result');
    await scene.expectPaidOnce(asked);
  });

  test('with an emptied purse is asked by no copy to pay, nor charged once it is filled again', async () => {
    const asked = await scene.leaveCall();
    const again = await scene.sign(asked);
    const owned = await asked.agent.owns();
    await drain(scene.lab.anvil, asked.agent);
    await expectOneAnswer(await crowd(12, asked, again));
    await scene.lab.anvil.mint(asked.agent.account.address, owned);
    await expectOneAnswer(await crowd(2, asked, again));
    expect(await asked.agent.owns()).toBe(owned);
  });

  test('of a tool that is paused meanwhile is given it by every copy', async () => {
    const server = await publishEcho(scene.gateways[0]);
    const asked = await scene.leaveCall(server.call);
    const again = await scene.sign(asked);
    for (const { deps } of scene.gateways) {
      const { sql, catalog } = deps.http;
      await withTransaction(sql, (tx) => catalog.pause(tx, server.id, 'It fails too often.'));
      catalog.forget(server.id);
    }
    await expectOneAnswer(await crowd(10, asked, again));
    await scene.expectPaidOnce(asked);
  });

  test('is given it although it is blocked for its free failures', async () => {
    const asked = await scene.leaveCall();
    const { http } = scene.gateways[0].deps;
    const { reliability } = http;
    http.reliability = { ...reliability, blockedForSeconds: () => 3_600 };
    const [response] = await crowd(1, asked, await scene.sign(asked));
    http.reliability = reliability;
    expect(response?.status).toBe(200);
    await scene.expectPaidOnce(asked);
  });

  test('has credit for the second payment when somebody else brings it to its chain, and is answered the same', async () => {
    const { http } = scene.gateways[0].deps;
    const asked = await scene.leaveCall();
    const again = await scene.sign(asked);
    const given = await readAnswer(await scene.gateways[0].fetch(asked.path, again));
    await broadcastForeign(scene.lab.anvil, { 'PAYMENT-SIGNATURE': credentialOf(again) });
    await scene.lab.database.sql`UPDATE payment_claim SET next_attempt_at = now(),
      intent = jsonb_set(intent, '{validUntil}', '"2020-01-01T00:00:00.000Z"') WHERE attached_to = ${given.receipt_id ?? ''}`;
    for (let round = 0; round < 2; round += 1) await creditLateArrivals(http, AbortSignal.timeout(10_000));
    const attached = await readAttached(scene.lab, asked.agent);
    expect(attached.map(({ state, reference }) => [state, reference !== null])).toEqual([['failed', true]]);
    const payer = `eip155:${scene.lab.anvil.chainId}:${asked.agent.account.address.toLowerCase()}`;
    expect(await http.ledger.balance(uuidFrom('payer', payer))).toMatchObject({ balance: PRICE_UNITS / 10n });
    const { receipt_id, result } = await readAnswer(await scene.gateways[1].fetch(asked.path, again));
    expect([receipt_id, result]).toEqual([given.receipt_id, given.result]);
  });
});
