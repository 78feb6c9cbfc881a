import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { addMs, systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { millicents } from '../../src/core/money.ts';
import { wireLightning } from '../../src/deps/lightning.ts';
import { createInvoices, type Invoices, type NewInvoice } from '../../src/payments/invoice/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

const [OLD_SECRET, SECRET] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];

let database: TestDatabase;
let invoices: Invoices;
beforeEach(async () => {
  database = await createTestDatabase();
  invoices = createInvoices({ sql: database.sql, secrets: [SECRET, OLD_SECRET] });
});
afterEach(() => database.close());

function invoiceOf(terms: Partial<NewInvoice> = {}): NewInvoice {
  return {
    paymentHash: randomBytes(32).toString('hex'),
    quoteHash: randomBytes(32),
    invoice: 'lnbcrt30n1',
    msat: 3_000n,
    price: millicents(250n),
    rate: { millicentsPerBtc: 10_000_000_000n, source: 'fixed', at: new Date(), spreadBps: 100n },
    isHold: true,
    preimage: randomBytes(32).toString('hex'),
    expiresAt: addMs(new Date(), 120_000),
    ...terms,
  };
}

async function insert(terms: Partial<NewInvoice> = {}): Promise<NewInvoice> {
  const invoice = invoiceOf(terms);
  await invoices.insert(invoice);
  return invoice;
}

const stateOf = async ({ paymentHash }: NewInvoice) => (await invoices.find(paymentHash))?.state;

test('an invoice is read back as it was minted, and its preimage is not in the database', async () => {
  const invoice = await insert();
  expect(await invoices.find(invoice.paymentHash)).toEqual({ ...invoice, state: 'open', receivedMsat: 0n });
  const [row] = await database.sql<{ preimage: Buffer }[]>`SELECT preimage FROM payment_invoice`;
  expect(row?.preimage.toString('hex')).not.toContain(invoice.preimage);
  expect(await invoices.find('00'.repeat(32))).toBeUndefined();
});

test('a payment hash has one invoice', async () => {
  const { paymentHash } = await insert();
  await expect(invoices.insert(invoiceOf({ paymentHash }))).rejects.toThrow();
});

test('a preimage sealed under an earlier secret is opened, and under none it is not there', async () => {
  const older = createInvoices({ sql: database.sql, secrets: [OLD_SECRET] });
  const invoice = invoiceOf();
  await older.insert(invoice);
  expect((await invoices.find(invoice.paymentHash))?.preimage).toBe(invoice.preimage);
  const stranger = createInvoices({ sql: database.sql, secrets: [Buffer.alloc(32, 3)] });
  expect((await stranger.find(invoice.paymentHash))?.preimage).toBeUndefined();
});

test('what is settled stays settled, and money that arrived outdoes an expiry', async () => {
  const invoice = await insert();
  const note = (state: 'held' | 'paid' | 'settled' | 'cancelled' | 'expired') =>
    invoices.note(invoice.paymentHash, { state, receivedMsat: 3_000n });
  await note('expired');
  await note('paid');
  await note('held');
  await note('cancelled');
  expect(await stateOf(invoice)).toBe('paid');
  await note('settled');
  for (const late of ['held', 'paid', 'cancelled', 'expired'] as const) await note(late);
  expect(await stateOf(invoice)).toBe('settled');
});

test('so many are held and no more, and one that is held already stays so', async () => {
  const all = [await insert(), await insert(), await insert()];
  const hold = (invoice: NewInvoice) =>
    invoices.noteHeld(invoice.paymentHash, { receivedMsat: 3_000n, heldMax: 2 });
  const [first, second, third] = all as [NewInvoice, NewInvoice, NewInvoice];
  expect([await hold(first), await hold(second), await hold(third)]).toEqual([true, true, false]);
  expect(await hold(first)).toBe(true);
  await invoices.note(first.paymentHash, { state: 'settled', receivedMsat: 3_000n });
  expect([await hold(first), await hold(third)]).toEqual([false, true]);
});

test('open ones come page by page, each once; held and paid ones until a claim has ended them', async () => {
  const expiresAt = addMs(new Date(), -60_000);
  const all = await Promise.all(Array.from({ length: 5 }, () => insert({ expiresAt })));
  await insert({ expiresAt: addMs(new Date(), 60_000) });
  const found: string[] = [];
  for (let after: Awaited<ReturnType<Invoices['listOpen']>>[number] | undefined; ; ) {
    const page = await invoices.listOpen({
      ...{ expiredBefore: new Date(), rowsMax: 2 },
      ...(after ? { after } : {}),
    });
    found.push(...page.map(({ paymentHash }) => paymentHash));
    after = page.at(-1);
    if (!after) break;
  }
  expect(found.sort()).toEqual(all.map(({ paymentHash }) => paymentHash).sort());
  const [held, paid, settled] = found;
  await invoices.note(held ?? '', { state: 'held', receivedMsat: 3_000n });
  await invoices.note(paid ?? '', { state: 'paid', receivedMsat: 3_000n });
  await invoices.note(settled ?? '', { state: 'settled', receivedMsat: 3_000n });
  const soon = addMs(new Date(), 60_000);
  const arrived = await invoices.listArrived({ changedBefore: soon, rowsMax: 10 });
  expect(arrived.map(({ paymentHash }) => paymentHash).sort()).toEqual([held, paid].sort());
});

test('what nobody paid is forgotten after its time, and what was paid never', async () => {
  const expiresAt = addMs(new Date(), -8 * 86_400_000);
  const [unpaid, paid, open] = [await insert({ expiresAt }), await insert({ expiresAt }), await insert()];
  await invoices.note(unpaid.paymentHash, { state: 'expired', receivedMsat: 0n });
  await invoices.note(paid.paymentHash, { state: 'settled', receivedMsat: 3_000n });
  expect(await invoices.prune({ expiredBefore: addMs(new Date(), -7 * 86_400_000), rowsMax: 10 })).toBe(1);
  expect([await stateOf(unpaid), await stateOf(paid), await stateOf(open)]).toEqual([
    undefined,
    'settled',
    'open',
  ]);
});

test('a gateway forgets invoices that nobody paid, a week after they were over', async () => {
  const daysAgo = (days: number) => addMs(new Date(), -days * 86_400_000);
  const [over, recent] = [await insert({ expiresAt: daysAgo(8) }), await insert({ expiresAt: daysAgo(6) })];
  for (const { paymentHash } of [over, recent]) {
    await invoices.note(paymentHash, { state: 'expired', receivedMsat: 0n });
  }
  const config = readConfig({
    ...{ LIGHTNING_PROVIDER: 'lnd', LIGHTNING_NETWORK: 'regtest', LIGHTNING_RATE: 'fixed:100000' },
    ...{ LIGHTNING_LND_URL: 'https://127.0.0.1:1', LIGHTNING_LND_MACAROON: 'abcd' },
  }).lightning;
  if (!config) throw new Error('lightning is not configured');
  const parts = { sql: database.sql, secrets: [SECRET], clock: systemClock, log: silentLog };
  const { jobs, close } = await wireLightning(config, parts);
  for (const { run } of jobs) await run(AbortSignal.timeout(5_000));
  await close?.();
  expect([await stateOf(over), await stateOf(recent)]).toEqual([undefined, 'expired']);
});

test('a cursor is kept for each node', async () => {
  expect(await invoices.loadCursor('lnd:regtest')).toBeUndefined();
  await invoices.saveCursor('lnd:regtest', '7');
  await invoices.saveCursor('lnd:regtest', '8');
  expect([await invoices.loadCursor('lnd:regtest'), await invoices.loadCursor('cln:regtest')]).toEqual([
    '8',
    undefined,
  ]);
});
