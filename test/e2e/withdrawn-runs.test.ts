import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Uuid } from '../../src/core/ids.ts';
import { invariant } from '../../src/core/invariant.ts';
import { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import { withdrawClaim } from '../../src/payments/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { expectTrueBooks, type FaultLab, hookRuns, type RunHooks, startFaultLab } from './fault-lab.ts';
import { jsonBody, publishEcho, readAnswer } from './fixtures.ts';

const AT_ONCE = 20;
const ROUNDS = 5;

let lab: FaultLab;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;
let key: string;
let calls = 0;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startFaultLab();
  gateway = await lab.start({ change: ({ http }) => hookRuns(http, hooks) });
  echo = await publishEcho(gateway);
  key = await gateway.mint(1_000_000);
});
afterEach(() => {
  hooks.before = undefined;
});
afterAll(async () => {
  await expectTrueBooks(lab, gateway);
  await lab.close();
});

/** A call under an `Idempotency-Key` of its own, to be sent as often as one likes. */
function newCall(): () => Promise<Response> {
  calls += 1;
  const headers = { authorization: `Bearer ${key}`, 'idempotency-key': `call-${calls}` };
  const request = jsonBody({ tool: 'random', arguments: { label: `call ${calls}` } }, headers);
  return () => gateway.fetch(echo.call, request);
}

const closed = () => Object.assign(new Error('write CONNECTION_CLOSED'), { code: 'CONNECTION_CLOSED' });
const full = () =>
  new Problem('too-many-requests', {
    ...{ detail: 'The queue is full.', retryAfterSeconds: 1, isUncharged: true },
  });

test.each([
  ['no database', closed, 503],
  ['no free place', full, 429],
])(
  'a call that found %s to run with says that nothing was taken, and runs when it is sent again',
  async (_, cause, status) => {
    const send = newCall();
    hooks.before = () => Promise.reject(cause());
    const refused = await send();
    expect(refused.status).toBe(status);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ ok: false, note: 'no charge applied' });
    hooks.before = undefined;
    expect(await readAnswer(await send())).toMatchObject({ ok: true, charged_mcents: 50 });
  },
);

test('a call that was withdrawn although nobody heard of it is in doubt, and runs when it is sent again', async () => {
  const send = newCall();
  hooks.before = async () => {
    const { sql, ledger } = gateway.deps.http;
    const [claim] = await sql<{ id: Uuid; claimKey: string }[]>`
      SELECT id, claim_key FROM payment_claim WHERE state = 'running'`;
    invariant(claim, 'the call is running');
    await withTransaction(sql, async (tx) => {
      await ledger.withdraw(tx, claim.id);
      await withdrawClaim(tx, claim.claimKey);
    });
    throw closed();
  };
  const refused = await send();
  expect(refused.status).toBe(503);
  expect((await readAnswer(refused)).type).toMatch(/outcome-unknown$/);
  hooks.before = undefined;
  expect(await readAnswer(await send())).toMatchObject({ ok: true, charged_mcents: 50 });
});

test('of twenty that ask at once for a call that finds no place, none meets a bug of ours and none pays', async () => {
  hooks.before = () => Promise.reject(full());
  for (let round = 0; round < ROUNDS; round += 1) {
    const send = newCall();
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, send));
    for (const { status } of answers) expect([409, 429, 503]).toContain(status);
  }
});
