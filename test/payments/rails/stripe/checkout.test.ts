import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { newUuid } from '../../../../src/core/ids.ts';
import { millicents } from '../../../../src/core/money.ts';
import { checkLedger } from '../../../../src/ledger/index.ts';
import { claimIdOf, deferSettlement, findClaim } from '../../../../src/payments/index.ts';
import { createTestDatabase, type TestDatabase } from '../../../harness/database.ts';
import { type StripeGateway, startStripeGateway } from '../../../harness/stripe.ts';
import { anySignal } from '../conformance.ts';
import { type StripeLab, startStripeLab } from './lab.ts';

describe('a Checkout session', () => {
  let lab: StripeLab;
  beforeAll(async () => {
    lab = await startStripeLab();
  });
  afterEach(() => lab.stripe.faults.clear());
  afterAll(() => lab.close());

  const inputOf = (amount = 500_000n) => ({
    ...{ reference: newUuid(), accountId: newUuid(), amount: millicents(amount), description: 'Balance' },
    ...{ paidUrl: 'https://gateway.example/paid', leftUrl: 'https://gateway.example/left' },
  });
  async function open(amount?: bigint) {
    const opening = await lab.checkout().open(inputOf(amount), anySignal());
    if (opening.kind !== 'open') throw new Error(opening.kind);
    return opening;
  }

  test('settles for what its buyer paid and with Stripe’s fee, as often as it is asked', async () => {
    const { intent, sessionId } = await open();
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('unknown');
    lab.stripe.payCheckout(sessionId);
    const settled = await lab.rail().settle(intent, anySignal());
    expect(settled).toMatchObject({ kind: 'settled', units: 500n, worth: 500_000n, isFinal: true });
    expect(settled).toMatchObject({ costs: [{ expense: 'E.stripe', unit: 'usd-cent', units: 45n }] });
    expect(await lab.rail().lookup(intent, anySignal())).toEqual(settled);
  });

  test('that nobody paid in time is refused for good', async () => {
    const { intent, expiresAt } = await open();
    lab.clock.advance(expiresAt.getTime() - lab.clock.now().getTime() + 1_000);
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('refused');
  });

  test('whose card was declined stays open and can be paid with another', async () => {
    const { intent, sessionId } = await open();
    expect(() => lab.stripe.payCheckout(sessionId, 'pm_card_chargeDeclined')).toThrow();
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('unknown');
    lab.stripe.payCheckout(sessionId);
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('settled');
  });

  test.each([
    [true, 'settled'],
    [false, 'refused'],
  ] as const)('paid by a bank debit is unknown until the bank says (%s): %s', async (isPaid, kind) => {
    const { intent, sessionId } = await open();
    lab.stripe.payCheckout(sessionId, 'pm_usBankAccount');
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('unknown');
    lab.stripe.completeCheckout(sessionId, isPaid);
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe(kind);
  });

  test('paid another sum than was asked is left for a person to look at', async () => {
    const { intent, sessionId } = await open();
    lab.stripe.payCheckout(sessionId);
    const other = { ...intent, units: intent.units + 1n };
    expect((await lab.rail().settle(other, anySignal())).kind).toBe('unknown');
  });

  test('cancelled can no longer be paid, and cancelling again changes nothing', async () => {
    const { intent, sessionId } = await open();
    await lab.rail().cancel(intent, anySignal());
    await lab.rail().cancel(intent, anySignal());
    expect(() => lab.stripe.payCheckout(sessionId)).toThrow();
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('refused');
  });

  test('is opened once however often the answer is lost', async () => {
    const before = lab.stripe.sessions().length;
    lab.stripe.faults.add({ operation: 'session.create', when: 'after', times: 2 });
    await open();
    expect(lab.stripe.sessions().length).toBe(before + 1);
  });

  test('cannot be opened while Stripe is down, nor for less than Stripe takes', async () => {
    expect((await lab.checkout().open(inputOf(49_999n), anySignal())).kind).toBe('refused');
    lab.stripe.faults.add({ operation: 'session.create', when: 'before' });
    expect((await lab.checkout().open(inputOf(), anySignal())).kind).toBe('unavailable');
  });

  test('is never a credential', async () => {
    const { intent } = await open();
    const { form } = intent;
    const quote = { ...inputOf(), id: 'q', purpose: 'topup' as const, requestDigest: '', runTimeoutMs: 0 };
    const resource = { url: 'https://gateway.example', description: '' };
    const verification = await lab
      .rail()
      .verify(form, { ...quote, resource, expiresAt: new Date() }, anySignal());
    expect(verification.kind).toBe('refused');
  });

  test('is paid on its page by a browser', async () => {
    const { intent, url } = await open();
    const page = await fetch(url);
    expect(await page.text()).toContain('Pay $5.00');
    const paid = await fetch(url, { method: 'POST', redirect: 'manual', body: new URLSearchParams({}) });
    expect(paid.headers.get('location')).toBe('https://gateway.example/paid');
    expect((await lab.rail().settle(intent, anySignal())).kind).toBe('settled');
  });
});

describe('a top-up by Checkout', () => {
  let database: TestDatabase;
  let lab: StripeGateway;
  beforeEach(async () => {
    database = await createTestDatabase();
    lab = await startStripeGateway(database);
  });
  afterEach(async () => {
    await lab.close();
    await database.close();
  });
  /** The reconciler's turn comes. */
  const askNow = (sessionId: string) => deferSettlement(database.sql, claimIdOf(`stripe:${sessionId}`), 0);
  const expectBalanced = async () =>
    expect(await checkLedger(database.sql)).toMatchObject({ isBalanced: true });

  test('is funded once when no webhook ever comes', async () => {
    const account = newUuid();
    const { sessionId, checkoutUrl } = await lab.open(account, 500_000n);
    expect(checkoutUrl).toContain(sessionId);
    lab.stripe.payCheckout(sessionId);
    await askNow(sessionId);
    expect(await lab.finished(sessionId)).toBe('delivered');
    await askNow(sessionId);
    expect(await lab.balance(account)).toBe(500_000n);
    await expectBalanced();
  });

  test('that was never paid is over when its page is, and costs nobody anything', async () => {
    const account = newUuid();
    const { sessionId } = await lab.open(account, 500_000n);
    lab.advance(60 * 60_000);
    await askNow(sessionId);
    expect(await lab.finished(sessionId)).toBe('failed');
    expect(await lab.balance(account)).toBe(0n);
    await expectBalanced();
  });

  test('survives that Stripe is away while its buyer pays', async () => {
    const account = newUuid();
    const { sessionId } = await lab.open(account, 123_450n);
    lab.stripe.payCheckout(sessionId);
    lab.stripe.faults.add({ operation: 'session.retrieve', when: 'before', times: 8 });
    await askNow(sessionId);
    expect(await lab.finished(sessionId)).toBe('delivered');
    expect(await lab.balance(account)).toBe(123_450n);
    await expectBalanced();
  });

  test('leaves no claim behind when no page could be opened', async () => {
    const account = newUuid();
    lab.stripe.faults.add({ operation: 'session.create', when: 'after' });
    await expect(lab.open(account, 500_000n)).rejects.toMatchObject({ type: 'unavailable' });
    await expect(lab.open(account, 10n)).rejects.toMatchObject({ type: 'malformed-request' });
    const [row] = await database.sql<{ n: bigint }[]>`SELECT count(*) AS n FROM payment_claim`;
    expect(row?.n).toBe(0n);
  });

  test('is asked about ever less often while its page stays open', async () => {
    const { sessionId } = await lab.open(newUuid(), 500_000n);
    const claimId = claimIdOf(`stripe:${sessionId}`);
    await askNow(sessionId);
    const deadline = Date.now() + 10_000;
    let claim = await findClaim(database.sql, claimId);
    while ((claim?.attempts ?? 0) < 2 && Date.now() < deadline) {
      await new Promise((done) => setTimeout(done, 50));
      claim = await findClaim(database.sql, claimId);
    }
    expect(claim).toMatchObject({ state: 'settling', attempts: 2 });
  });
});
