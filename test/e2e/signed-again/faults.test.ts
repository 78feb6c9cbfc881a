import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Sql, Tx } from '../../../src/db/index.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { haltAt } from '../../harness/halting-gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import { readAttached, readClaims, withHeaders } from '../fault-lab.ts';
import { publishEcho, readAnswer } from '../fixtures.ts';
import { type Asked, holdRuns, OWNED, openScene, type Scene, SIGNUP_UNITS, withoutEcho } from './kit.ts';

let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
});
afterEach(() => scene.rest());
afterAll(() => scene.close());

const isAttached = async ({ agent }: Asked) => (await readAttached(scene.lab, agent)).length > 0;
const isDelivered = async ({ agent }: Asked) =>
  (await readClaims(scene.lab, agent)).some(({ state }) => state === 'delivered');

/** A new payment of the same agent is given what it paid for before. */
async function expectGiven(asked: Asked, at: TestGateway, units?: bigint): Promise<void> {
  const response = await at.fetch(asked.path, await scene.sign(asked));
  expect(response.status, JSON.stringify(await readAnswer(response))).toBe(200);
  await scene.expectPaidOnce(asked, units);
}

describe('who leaves and signs again', () => {
  test('while its key is being paid for is given that key', async () => {
    const asked = await scene.newSignup();
    await scene.lab.anvil.rpc('evm_setAutomine', [false]);
    await scene.leaveAt(asked, 'settling');
    const again = await scene.sign(asked);
    const answer = scene.gateways[1].fetch(asked.path, again);
    await waitUntil(() => isAttached(asked));
    await scene.rest();
    expect((await answer).status).toBe(200);
    await scene.expectPaidOnce(asked, SIGNUP_UNITS);
  });

  test('and leaves again while it waits for what it is owed, is given it the third time', async () => {
    const asked = await scene.newSignup();
    await scene.lab.anvil.rpc('evm_setAutomine', [false]);
    await scene.leaveAt(asked, 'settling');
    const client = new AbortController();
    const second = scene.gateways[1].fetch(asked.path, {
      ...(await scene.sign(asked)),
      signal: client.signal,
    });
    await waitUntil(() => isAttached(asked));
    client.abort();
    await second.catch(() => {});
    await scene.rest();
    await expectGiven(asked, scene.gateways[0], SIGNUP_UNITS);
  });

  test('is told of its refund key, whoever was told of its failure while nobody was there', async () => {
    const [gateway] = scene.gateways;
    const dear = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 50_000 } });
    const asked = await scene.newCall(dear.call);
    await scene.lab.anvil.rpc('evm_setAutomine', [false]);
    expect((await gateway.fetch(asked.path, await scene.sign(asked))).status).toBe(503);
    const client = new AbortController();
    const second = gateway.fetch(asked.path, { ...(await scene.sign(asked)), signal: client.signal });
    await waitUntil(() => isAttached(asked));
    client.abort();
    await second.catch(() => {});
    await scene.rest();
    await waitUntil(async () =>
      (await readClaims(scene.lab, asked.agent)).every(({ state }) => state === 'failed'),
    );
    await sleep(500);
    const third = await readAnswer(await gateway.fetch(asked.path, await scene.sign(asked)));
    expect(third.refund_key).toMatch(/^mcp_/);
    await scene.expectPaidOnce(asked, 500_000n);
  });
});

describe('a gateway that is killed', () => {
  test.each([
    ['a call', () => scene.newCall(), undefined],
    ['a key', () => scene.newSignup(), SIGNUP_UNITS],
  ] as const)(
    'after %s was booked, and before it was answered: who signs again at once waits, and is given it',
    async (_what, make, units) => {
      const asked = await make();
      const dying = await scene.lab.startHalting();
      const paid = withHeaders(await scene.sign(asked), haltAt('before-answer', 'booked'));
      dying.fetch(asked.path, paid).catch(() => {});
      await waitUntil(() => dying.halted.length > 0);
      await dying.kill();
      await expectGiven(asked, scene.gateways[1], units);
    },
  );

  test('while its caller waits for what another one runs, leaves that to who asks next', async () => {
    const asked = await scene.newCall();
    const { open } = holdRuns(scene.hooks);
    await scene.leaveAt(asked, 'running');
    const dying = await scene.lab.startHalting();
    dying.fetch(asked.path, await scene.sign(asked)).catch(() => {});
    await waitUntil(() => isAttached(asked));
    await dying.kill();
    open();
    await waitUntil(() => isDelivered(asked));
    await expectGiven(asked, scene.gateways[1]);
  });
});

describe('what somebody is told on the way', () => {
  test('that its outcome is not known yet, is no answer: who signs a third time is given the key', async () => {
    const asked = await scene.newSignup();
    await scene.lab.anvil.rpc('evm_setAutomine', [false]);
    for (const gateway of scene.gateways) {
      expect((await gateway.fetch(asked.path, await scene.sign(asked))).status).toBe(503);
    }
    await scene.rest();
    await waitUntil(() => isDelivered(asked));
    await expectGiven(asked, scene.gateways[0], SIGNUP_UNITS);
  });

  test('that it is in flight, tells a copy nothing: who signs a third time is given the call', async () => {
    const asked = await scene.newCall();
    const { open } = holdRuns(scene.hooks);
    await scene.leaveAt(asked, 'running');
    const again = await scene.sign(asked);
    const client = new AbortController();
    const left = scene.gateways[1].fetch(asked.path, { ...again, signal: client.signal }).catch(() => {});
    await waitUntil(() => isAttached(asked));
    expect((await scene.gateways[0].fetch(asked.path, again)).status).toBe(409);
    client.abort();
    await left;
    open();
    await waitUntil(() => isDelivered(asked));
    await expectGiven(asked, scene.gateways[0]);
  });

  test('by whom a stranger shows its payment with no challenge, ends nothing that is owed', async () => {
    const [gateway] = scene.gateways;
    const dear = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: 50_000 } });
    const asked = await scene.newCall(dear.call);
    await scene.lab.anvil.rpc('evm_setAutomine', [false]);
    const paid = await scene.sign(asked);
    expect((await gateway.fetch(asked.path, paid)).status).toBe(503);
    await scene.rest();
    await waitUntil(async () => (await readClaims(scene.lab, asked.agent))[0]?.state === 'failed');
    const copied = await readAnswer(await gateway.fetch(asked.path, withoutEcho(asked.request, paid)));
    expect(copied.refund_key).toBeUndefined();
    const again = await readAnswer(await gateway.fetch(asked.path, await scene.sign(asked)));
    expect(again.refund_key).toMatch(/^mcp_/);
    await scene.expectPaidOnce(asked, 500_000n);
  });
});

/** The answer to the next COMMIT of a gateway is not heard. */
function loseCommit({ deps: { http } }: TestGateway, lateMs = 0): () => void {
  const real = http.sql;
  const begin = async (mode: string, work: (tx: Tx) => Promise<unknown>) => {
    await new Promise<void>((resolve, reject) => {
      const late = async (tx: Tx) => {
        await work(tx);
        if (lateMs > 0) resolve();
        await sleep(lateMs);
      };
      real.begin(mode, late).then(() => resolve(), reject);
    });
    http.sql = real;
    throw Object.assign(new Error('write CONNECTION_CLOSED'), { code: 'CONNECTION_CLOSED' });
  };
  http.sql = new Proxy(real, {
    get: (target, name) => (name === 'begin' ? begin : Reflect.get(target, name)),
  }) as Sql;
  return () => {
    http.sql = real;
  };
}

describe('a COMMIT that is not heard', () => {
  /** Sends it to the second gateway; what it is told never asks for money. */
  async function sendUnheard(asked: Asked, paid: RequestInit, lateMs = 0): Promise<void> {
    const restore = loseCommit(scene.gateways[1], lateMs);
    const response = await scene.gateways[1].fetch(asked.path, paid);
    restore();
    expect(response.status).toBe(503);
    expect((await readAnswer(response)).type).toMatch(/outcome-unknown$/);
  }

  test.each([
    ['at all', 0],
    ['as the server was late with it', 1_000],
  ])(
    'of a purchase, %s: it is settled without its caller, and who signs again is given it',
    async (_why, lateMs) => {
      const asked = await scene.newSignup();
      await sendUnheard(asked, await scene.sign(asked), lateMs);
      await waitUntil(() => isDelivered(asked));
      await expectGiven(asked, scene.gateways[1], SIGNUP_UNITS);
    },
  );

  test('of a second payment: who signs a third time is given it', async () => {
    const asked = await scene.leaveCall();
    await sendUnheard(asked, await scene.sign(asked));
    await waitUntil(async () =>
      (await readAttached(scene.lab, asked.agent)).some((each) => each.answerState === 'lost'),
    );
    await expectGiven(asked, scene.gateways[1]);
  });

  test.each([
    ['at all', 0],
    ['as the server was late with it', 1_000],
  ])('of a call, %s: it never runs, and is free within seconds', async (_why, lateMs) => {
    const asked = await scene.newCall();
    const paid = await scene.sign(asked);
    await sendUnheard(asked, paid, lateMs);
    await waitUntil(async () => (await readClaims(scene.lab, asked.agent))[0]?.state === 'failed', 5_000);
    expect(await readAnswer(await scene.gateways[1].fetch(asked.path, paid))).toMatchObject({
      note: 'no charge applied',
    });
    expect(await asked.agent.owns()).toBe(OWNED);
    await expectGiven(asked, scene.gateways[0]);
  });

  test('of a call by key: it never runs, and nothing stays set aside', async () => {
    const { request, path } = await scene.newCall();
    const authorization = `Bearer ${await scene.gateways[0].mint(1_000)}`;
    const asked = withHeaders(request, { authorization, 'idempotency-key': 'unheard' });
    const restore = loseCommit(scene.gateways[1]);
    expect((await scene.gateways[1].fetch(path, asked)).status).toBe(503);
    restore();
    const again = () => scene.gateways[1].fetch(path, asked);
    const last = await waitUntil(async () => {
      const response = await again();
      return response.headers.has('retry-after') ? undefined : response;
    }, 5_000);
    expect(await readAnswer(last)).toMatchObject({ note: 'no charge applied' });
    const balance = await scene.gateways[0].fetch('/v1/balance', { headers: { authorization } });
    expect(await readAnswer(balance)).toMatchObject({ balance_mcents: 1_000 });
  });
});

describe('the database is lost while an owed key is told', () => {
  const lost = () =>
    Promise.reject(Object.assign(new Error('write CONNECTION_CLOSED'), { code: 'CONNECTION_CLOSED' }));

  test.each(['keys', 'ledger'] as const)('with its %s: who signs again is given it', async (part) => {
    const asked = await scene.leaveSignup();
    await waitUntil(() => isDelivered(asked));
    const { http } = scene.gateways[1].deps;
    const { keys, ledger } = http;
    if (part === 'keys') http.keys = { ...keys, resolve: lost };
    else http.ledger = { ...ledger, balance: lost };
    const second = await scene.gateways[1].fetch(asked.path, await scene.sign(asked));
    Object.assign(http, { keys, ledger });
    expect(second.status).toBe(503);
    await expectGiven(asked, scene.gateways[1], SIGNUP_UNITS);
  });
});

test('a run that is another gateway’s by now is left to it, whatever breaks here', async () => {
  const [other, own] = scene.gateways;
  const { sql } = scene.lab.database;
  const { http } = own.deps;
  const { answers } = http;
  http.answers = { ...answers, store: (tx) => tx`SELECT 1 / 0`.then(() => false) };
  const asked = await scene.newCall();
  const { open } = holdRuns(scene.hooks);
  const answer = own.fetch(asked.path, await scene.sign(asked));
  const claim = await waitUntil(async () => (await readClaims(scene.lab, asked.agent))[0]);
  await sql`UPDATE payment_claim SET worker = ${other.deps.http.worker.id} WHERE id = ${claim.id}`;
  open();
  expect((await readAnswer(await answer)).type).toMatch(/outcome-unknown$/);
  http.answers = answers;
  expect(await readClaims(scene.lab, asked.agent)).toMatchObject([
    { state: 'running', answerState: 'waiting' },
  ]);
  // Nobody is at it here: it is given to one that is gone, so that it is ended.
  await sql`UPDATE payment_claim SET worker = 'gone' WHERE id = ${claim.id}`;
  await waitUntil(async () => (await readClaims(scene.lab, asked.agent))[0]?.state === 'failed', 20_000);
});

test('an answer that nobody noted delays who asks for the same again for a while, and not for ever', async () => {
  const asked = await scene.newCall();
  const [gateway] = scene.gateways;
  const send = async () => gateway.fetch(asked.path, await scene.sign(asked));
  expect((await send()).status).toBe(200);
  const { sql } = scene.lab.database;
  const [claim] = await readClaims(scene.lab, asked.agent);
  await waitUntil(async () => (await readClaims(scene.lab, asked.agent))[0]?.answerState === 'answered');
  await sql`UPDATE payment_claim SET answer_state = 'waiting', closed_at = now() - interval '17 seconds'
    WHERE id = ${claim?.id ?? ''}`;
  const from = performance.now();
  const second = await send();
  expect(performance.now() - from).toBeGreaterThan(2_000);
  // It was not lost, as far as anybody knows: this is another call.
  expect(second.status).toBe(200);
  expect(await readClaims(scene.lab, asked.agent)).toMatchObject([
    { state: 'delivered', reference: expect.any(String) },
    { state: 'delivered', reference: expect.any(String) },
  ]);
});
