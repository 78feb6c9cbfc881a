import { afterAll, beforeAll, expect, test } from 'vitest';
import { bucketOf, newUuid } from '../../src/core/ids.ts';
import { inSlices, pruneHistory, pruneShortLived } from '../../src/jobs/index.ts';
import { checkLedger } from '../../src/ledger/index.ts';
import { createAgent, jsonBody, publishEcho, readAnswer } from '../e2e/fixtures.ts';
import { bearer, type Surface, startSurface, times } from '../e2e/surface.ts';
import { waitUntil } from '../harness/process.ts';

let surface: Surface;
let echo: Awaited<ReturnType<typeof publishEcho>>;
const running = new AbortController().signal;

beforeAll(async () => {
  surface = await startSurface();
  echo = await publishEcho(surface.gateway);
});
afterAll(() => surface.close());

/** What calls left, as if they had been made so many days ago. */
async function age(days: number): Promise<void> {
  const { sql } = surface.database;
  const ago = `${days} days`;
  await sql`UPDATE payment_claim SET created_at = created_at - ${ago}::interval,
    closed_at = closed_at - ${ago}::interval, final_at = final_at - ${ago}::interval`;
  await sql`UPDATE payment_answer SET expires_at = expires_at - ${ago}::interval`;
  await sql`UPDATE ledger_exposure SET created_at = created_at - ${ago}::interval,
    updated_at = updated_at - ${ago}::interval`;
  await sql`UPDATE ledger_hold SET created_at = created_at - ${ago}::interval,
    closed_at = closed_at - ${ago}::interval`;
}

/** Two gateways and more at it at once. */
async function pruneAll(): Promise<void> {
  const { http } = surface.gateway.deps;
  await Promise.all(times(20, () => pruneShortLived(http, running)));
  await Promise.all(times(20, () => pruneHistory(http, running)));
}

const confirmAll = () =>
  surface.database
    .sql`UPDATE payment_claim SET final_at = now() WHERE reference IS NOT NULL AND final_at IS NULL`;

const findRow = async (id: string) => {
  const [row] = await surface.database.sql`SELECT state, intent, context FROM payment_claim WHERE id = ${id}`;
  return row;
};

const called = (tool: string, headers: Record<string, string> = {}) =>
  jsonBody({ tool, arguments: tool === 'echo' ? { text: newUuid() } : {} }, headers);

/** A call that a credential of the stock client paid, as it was sent. */
async function payCall() {
  const { gateway, anvil } = surface;
  const agent = await createAgent(anvil);
  const unpaid = called('echo');
  const headers = await agent.sign(await gateway.fetch(echo.call, unpaid));
  const request: RequestInit = { ...unpaid, headers: { ...(unpaid.headers as object), ...headers } };
  const answer = await readAnswer(await gateway.fetch(echo.call, request));
  expect(answer.ok, JSON.stringify(answer)).toBe(true);
  return { agent, request, id: answer.receipt_id };
}

async function callWithKey(tool: string, idempotencyKey: string) {
  const key = await surface.gateway.mint(1_000);
  const request = called(tool, { ...bearer(key), 'idempotency-key': idempotencyKey });
  const response = await surface.gateway.fetch(echo.call, request);
  return { request, answer: await readAnswer(response), status: response.status, key };
}

type Receipt = { receipt: unknown; jws: string; log?: { entry: string; salt: string } };

/** A receipt with what opens its commitment in the log; the proof itself grows with the tree. */
async function readReceipt(id: string) {
  const response = await surface.gateway.fetch(`/receipts/${id}`);
  const { receipt, jws, log } = (await response.json()) as Receipt;
  return { receipt, jws, entry: log?.entry, salt: log?.salt };
}

test('pruning leaves every balance, receipt and refusal of a repeated payment as it was', async () => {
  const { gateway, database } = surface;
  const paid = await payCall();
  const keyed = await callWithKey('echo', 'once');
  const failed = await callWithKey('fail', 'never');
  expect(failed.status).toBeGreaterThan(399);
  await gateway.fetch(echo.call, called('fail', bearer(await gateway.mint(1_000))));
  await confirmAll();
  await age(100);
  const ids = [paid.id, keyed.answer.receipt_id];
  await waitUntil(async () =>
    (await Promise.all(ids.map(readReceipt))).every(({ entry }) => entry !== undefined),
  );
  const before = {
    books: await checkLedger(database.sql),
    receipts: await Promise.all(ids.map(readReceipt)),
  };
  const owned = await paid.agent.owns();

  await pruneAll();

  expect(before.books.isBalanced).toBe(true);
  expect(await checkLedger(database.sql)).toEqual(before.books);
  expect(await Promise.all(ids.map(readReceipt))).toEqual(before.receipts);
  expect(await findRow(paid.id)).toMatchObject({ state: 'delivered', intent: null });
  for (const { request, id } of [paid, { request: keyed.request, id: keyed.answer.receipt_id }]) {
    const repeats = await Promise.all(times(20, () => gateway.fetch(echo.call, request)));
    for (const repeat of repeats) {
      expect(repeat.status).toBe(410);
      expect(await repeat.json()).toMatchObject({ receipt_id: id });
    }
  }
  expect(await paid.agent.owns()).toBe(owned);
  expect(await checkLedger(database.sql)).toEqual(before.books);
  const [left] = await database.sql`SELECT
    (SELECT count(*) FROM ledger_hold WHERE state IN ('released', 'expired')) AS holds,
    (SELECT count(*) FROM ledger_exposure) AS exposures, (SELECT count(*) FROM payment_answer) AS answers,
    (SELECT count(*) FROM payment_claim WHERE state = 'failed') AS unpaid`;
  expect(left).toEqual({ holds: 0n, exposures: 0n, answers: 0n, unpaid: 0n });
});

test('a claim stays whole while its answer is stored, its money is not final, or it is young', async () => {
  const { sql } = surface.database;
  const { id } = await payCall();
  const whole = await findRow(id);
  const expectWhole = async () => {
    await pruneAll();
    expect(await findRow(id)).toEqual(whole);
  };
  await confirmAll();
  await age(6);
  await expectWhole();
  await age(100);
  await sql`UPDATE payment_claim SET final_at = NULL WHERE id = ${id}`;
  await expectWhole();
  expect(await sql`SELECT FROM ledger_exposure WHERE id = ${id}`).toHaveLength(1);
  await confirmAll();
  await sql`INSERT INTO payment_answer (bucket, id, payer, sealed, bytes)
    VALUES (${bucketOf(id)}, ${id}, 'somebody', ''::bytea, 0) ON CONFLICT DO NOTHING`;
  await expectWhole();
  await sql`DELETE FROM payment_answer WHERE id = ${id}`;
  await pruneAll();
  expect(await findRow(id)).toMatchObject({ state: 'delivered', intent: null });
});

test('a payment that was let go is remembered until its rail says that it can never arrive', async () => {
  const { sql } = surface.database;
  const { id } = await payCall();
  await sql`UPDATE payment_claim SET state = 'failed', reference = NULL, final_at = NULL,
    failure = ${sql.json({ problem: 'tool-failed', detail: 'It failed.' })}, next_attempt_at = 'infinity' WHERE id = ${id}`;
  await sql`UPDATE ledger_exposure SET state = 'unknown' WHERE id = ${id}`;
  await age(100);
  const expectKept = async () => {
    await pruneAll();
    expect(await findRow(id)).toMatchObject({ state: 'failed' });
  };
  await expectKept();
  await sql`UPDATE ledger_exposure SET state = 'void' WHERE id = ${id}`;
  await sql`UPDATE payment_claim SET next_attempt_at = now() + interval '1 day' WHERE id = ${id}`;
  await expectKept();
  await sql`UPDATE payment_claim SET next_attempt_at = 'infinity' WHERE id = ${id}`;
  await pruneAll();
  expect(await findRow(id)).toBeUndefined();
});

test('money that became credit, and keys that were bought, keep their claims for good', async () => {
  const { sql } = surface.database;
  const [first, second] = [await payCall(), await payCall()];
  await sql`UPDATE payment_claim SET state = 'failed',
    failure = ${sql.json({ problem: 'tool-failed', detail: 'It failed.' })} WHERE id = ${first.id}`;
  await sql`UPDATE payment_claim SET purpose = 'signup' WHERE id = ${second.id}`;
  await confirmAll();
  await age(1_000);
  const [credit, signup] = [await findRow(first.id), await findRow(second.id)];
  await pruneAll();
  expect([await findRow(first.id), await findRow(second.id)]).toEqual([credit, signup]);
  expect(credit?.intent).not.toBeNull();
});

test('one round prunes more than one slice, and stops when the gateway does', async () => {
  const { sql } = surface.database;
  const ids = Array.from({ length: 2_500 }, () => newUuid());
  await sql`INSERT INTO payment_answer (bucket, id, payer, sealed, bytes, expires_at)
    SELECT 0, id, 'somebody', ''::bytea, 0, now() - interval '1 minute' FROM unnest(${ids}::uuid[]) AS id`;
  const stopped = AbortSignal.abort();
  await pruneShortLived(surface.gateway.deps.http, stopped);
  const count = async () =>
    Number((await sql`SELECT count(*) AS n FROM payment_answer WHERE payer = 'somebody'`)[0]?.n);
  expect(await count()).toBe(2_500);
  await pruneShortLived(surface.gateway.deps.http, running);
  expect(await count()).toBe(0);
  let slices = 0;
  const endless = async () => (slices += 1);
  expect(await inSlices(endless, AbortSignal.timeout(200))).toBeGreaterThan(0);
  expect(slices).toBeLessThan(100);
});
