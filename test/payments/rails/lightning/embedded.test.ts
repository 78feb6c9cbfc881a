import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startLightningNode } from '../../../../scripts/dev/lightning.ts';
import { sha256Hex } from '../../../../src/core/bytes.ts';
import { createEmbeddedProvider } from '../../../../src/payments/rails/lightning/embedded/index.ts';
import { startEmbeddedService } from '../../../../src/payments/rails/lightning/embedded/service.ts';
import type { InvoiceChange } from '../../../../src/payments/rails/lightning/provider.ts';
import { type Paid, startLightning, type TestLightning } from '../../../harness/lightning.ts';
import { type BadPayer, startBadPayer } from '../../../harness/lightning-payer.ts';
import { waitUntil } from '../../../harness/process.ts';

let lightning: TestLightning;

beforeAll(async () => {
  lightning = await startLightning();
});
afterAll(() => lightning.close());

const signal = () => AbortSignal.timeout(60_000);
/** What the node reckons a block to take. */
const BLOCK_MS = 30_000;
const INVOICE = { amountMsat: 21_001n, memo: 'a call', expirySeconds: 600 };

function makeSecret() {
  const preimage = randomBytes(32).toString('hex');
  return { preimage, paymentHash: sha256Hex(Buffer.from(preimage, 'hex')) };
}

/** An invoice whose payment the agent has sent and the node holds. */
async function makeHeld(amountMsat = INVOICE.amountMsat) {
  const secret = makeSecret();
  const hold = { paymentHash: secret.paymentHash };
  const { invoice } = await lightning.node.createInvoice({ ...INVOICE, amountMsat, hold }, signal());
  const paying = lightning.pay(invoice);
  await waitForState(secret.paymentHash, 'held');
  return { ...secret, invoice, paying };
}

const stateOf = async (paymentHash: string) => (await lightning.node.lookup(paymentHash, signal())).state;
const waitForState = (paymentHash: string, state: string) =>
  waitUntil(async () => (await stateOf(paymentHash)) === state);

const preimageOf = (paid: Paid) => ('preimage' in paid ? paid.preimage : paid.error);

describe('paying', () => {
  test('20 payments at once all arrive, and both balances agree to the millisatoshi', async () => {
    const { node } = lightning;
    const [ours, theirs] = [await node.balance(signal()), await lightning.agentBalance()];
    const amounts = Array.from({ length: 20 }, (_, index) => 1_000n + BigInt(index));
    const invoices = await Promise.all(
      amounts.map((amountMsat) => node.createInvoice({ ...INVOICE, amountMsat }, signal())),
    );
    const paid = await Promise.all(invoices.map(({ invoice }) => lightning.pay(invoice)));
    for (const [index, { paymentHash }] of invoices.entries()) {
      expect(sha256Hex(Buffer.from(preimageOf(paid[index] ?? { error: '' }), 'hex'))).toBe(paymentHash);
      const standing = await node.lookup(paymentHash, signal());
      expect(standing).toMatchObject({ state: 'settled', receivedMsat: amounts[index] });
    }
    const sum = amounts.reduce((total, amount) => total + amount, 0n);
    expect((await node.balance(signal())).msat - ours.msat).toBe(sum);
    await waitUntil(async () => theirs - (await lightning.agentBalance()) === sum);
  });

  test('a held payment is given only to who shows its preimage, and once', async () => {
    const before = await lightning.agentBalance();
    const { preimage, paymentHash, paying } = await makeHeld();
    await expect(
      lightning.node.settle({ paymentHash, preimage: makeSecret().preimage }, signal()),
    ).rejects.toThrow('preimage');
    expect(await stateOf(paymentHash)).toBe('held');
    await Promise.all([1, 2, 3].map(() => lightning.node.settle({ paymentHash, preimage }, signal())));
    expect(preimageOf(await paying)).toBe(preimage);
    await expect(lightning.node.cancel(paymentHash, signal())).rejects.toThrow('cannot be given back');
    expect(await stateOf(paymentHash)).toBe('settled');
    expect(before - (await lightning.agentBalance())).toBe(INVOICE.amountMsat);
  });

  test('a cancelled hold returns the payment to the last millisatoshi, however often it is cancelled', async () => {
    const before = await lightning.agentBalance();
    const { preimage, paymentHash, paying } = await makeHeld();
    await Promise.all([1, 2, 3].map(() => lightning.node.cancel(paymentHash, signal())));
    expect(await paying).toHaveProperty('error');
    expect(await stateOf(paymentHash)).toBe('cancelled');
    await waitUntil(async () => (await lightning.agentBalance()) === before);
    await expect(lightning.node.settle({ paymentHash, preimage }, signal())).rejects.toThrow('cancelled');
  });

  test('an invoice that was cancelled before it was paid takes no payment', async () => {
    const { invoice, paymentHash } = await lightning.node.createInvoice(INVOICE, signal());
    await lightning.node.cancel(paymentHash, signal());
    expect(await lightning.pay(invoice)).toHaveProperty('error');
    expect(await stateOf(paymentHash)).toBe('cancelled');
  });

  test('a payment hash serves one invoice', async () => {
    const hold = { paymentHash: makeSecret().paymentHash };
    await lightning.node.createInvoice({ ...INVOICE, hold }, signal());
    await expect(lightning.node.createInvoice({ ...INVOICE, hold }, signal())).rejects.toThrow('already');
  });

  test('a payout asked for five times at once leaves once', async () => {
    const { invoice, paymentHash } = await lightning.agentNode.createInvoice(INVOICE, signal());
    const before = await lightning.node.balance(signal());
    const input = { invoice, feeMaxMsat: 1_000n, timeoutMs: 20_000 };
    const paid = await Promise.all([1, 2, 3, 4, 5].map(() => lightning.node.pay(input, signal())));
    const [first] = paid;
    expect(first).toMatchObject({ kind: 'succeeded', feeMsat: 0n });
    for (const one of paid) expect(one).toEqual(first);
    expect(await lightning.node.track(paymentHash, signal())).toEqual(first);
    await waitUntil(
      async () => before.msat - (await lightning.node.balance(signal())).msat === INVOICE.amountMsat,
    );
  });

  test('a payout that is refused has failed, one that waits is pending, an unknown one missing', async () => {
    const { node, agentNode } = lightning;
    const closed = await agentNode.createInvoice(INVOICE, signal());
    await agentNode.cancel(closed.paymentHash, signal());
    const input = { feeMaxMsat: 0n, timeoutMs: 20_000 };
    expect(await node.pay({ ...input, invoice: closed.invoice }, signal())).toMatchObject({ kind: 'failed' });
    const secret = makeSecret();
    const hold = { paymentHash: secret.paymentHash };
    const held = await agentNode.createInvoice({ ...INVOICE, hold }, signal());
    expect(await node.pay({ ...input, invoice: held.invoice, timeoutMs: 500 }, signal())).toEqual({
      kind: 'pending',
    });
    await agentNode.settle(secret, signal());
    await waitUntil(async () => (await node.track(secret.paymentHash, signal())).kind === 'succeeded');
    expect(await node.track(makeSecret().paymentHash, signal())).toEqual({ kind: 'missing' });
    expect(await node.pay({ ...input, invoice: 'lnbc1nonsense' }, signal())).toMatchObject({
      kind: 'failed',
    });
  });
});

describe('a payer that does not play fair', () => {
  let payer: BadPayer;
  beforeAll(async () => {
    payer = await startBadPayer(lightning.gatewayFolder);
  });
  afterAll(() => payer.close());

  const mint = (input: Partial<typeof INVOICE> = {}) =>
    lightning.node.createInvoice({ ...INVOICE, ...input }, signal());
  const receivedFor = async (paymentHash: string) =>
    (await lightning.node.lookup(paymentHash, signal())).receivedMsat;

  test('a second payment to a paid hash is refused', async () => {
    const { invoice, paymentHash } = await mint();
    const before = payer.balance();
    expect(await payer.send(invoice, INVOICE.amountMsat)).toBe('paid');
    expect(await payer.send(invoice, INVOICE.amountMsat)).toBe('refused');
    expect(before - payer.balance()).toBe(INVOICE.amountMsat);
    expect(await receivedFor(paymentHash)).toBe(INVOICE.amountMsat);
  });

  test('a second payment to a held hash is refused and the first stays held', async () => {
    const { preimage, paymentHash, invoice, paying } = await makeHeld();
    expect(await payer.send(invoice, INVOICE.amountMsat)).toBe('refused');
    await lightning.node.settle({ paymentHash, preimage }, signal());
    expect(preimageOf(await paying)).toBe(preimage);
    expect(await receivedFor(paymentHash)).toBe(INVOICE.amountMsat);
  });

  test('a payment that is one millisatoshi short is refused', async () => {
    const { invoice, paymentHash } = await mint();
    expect(await payer.send(invoice, INVOICE.amountMsat - 1n)).toBe('refused');
    expect(await stateOf(paymentHash)).toBe('open');
  });

  test('overpayment is reported as received up to twice the amount, and refused beyond', async () => {
    const twice = await mint();
    expect(await payer.send(twice.invoice, INVOICE.amountMsat * 2n)).toBe('paid');
    expect(await receivedFor(twice.paymentHash)).toBe(INVOICE.amountMsat * 2n);
    const more = await mint();
    expect(await payer.send(more.invoice, INVOICE.amountMsat * 2n + 1n)).toBe('refused');
    expect(await stateOf(more.paymentHash)).toBe('open');
  });

  test('a payment after the invoice expired by our clock is refused', async () => {
    const { invoice, paymentHash, expiresAt } = await mint({ expirySeconds: 1 });
    await waitUntil(() => Date.now() > expiresAt.getTime());
    expect(await stateOf(paymentHash)).toBe('expired');
    expect(await payer.send(invoice, INVOICE.amountMsat)).toBe('refused');
    expect(await stateOf(paymentHash)).toBe('expired');
  });

  test('a channel holds 100 payments, and plain ones still get through', async () => {
    const before = payer.balance();
    const secrets = Array.from({ length: 101 }, makeSecret);
    const invoices = await Promise.all(
      secrets.map(({ paymentHash }) =>
        lightning.node.createInvoice({ ...INVOICE, hold: { paymentHash } }, signal()),
      ),
    );
    const sending = invoices.map(({ invoice }) => payer.send(invoice, INVOICE.amountMsat));
    expect(await Promise.race(sending)).toBe('refused');
    const states = async () => Promise.all(secrets.map(({ paymentHash }) => stateOf(paymentHash)));
    await waitUntil(async () => (await states()).filter((state) => state === 'held').length === 100);
    const { invoice } = await mint();
    expect(await payer.send(invoice, INVOICE.amountMsat)).toBe('paid');
    await Promise.all(secrets.map(({ paymentHash }) => lightning.node.cancel(paymentHash, signal())));
    expect(await Promise.all(sending)).toEqual(secrets.map(() => 'refused'));
    await waitUntil(() => before - payer.balance() === INVOICE.amountMsat);
  });
});

describe('restarts', () => {
  test('after a kill a held payment can be settled, another cancelled, and an open invoice paid', async () => {
    const before = await lightning.agentBalance();
    const [settled, cancelled] = [await makeHeld(), await makeHeld()];
    const open = await lightning.node.createInvoice(INVOICE, signal());
    await lightning.killNode();
    await lightning.startNode();
    expect(await stateOf(settled.paymentHash)).toBe('held');
    await lightning.node.settle(settled, signal());
    await lightning.node.cancel(cancelled.paymentHash, signal());
    expect(preimageOf(await settled.paying)).toBe(settled.preimage);
    expect(await cancelled.paying).toHaveProperty('error');
    expect(await lightning.pay(open.invoice)).toHaveProperty('preimage');
    await waitUntil(async () => before - (await lightning.agentBalance()) === 2n * INVOICE.amountMsat);
  });

  test('a node killed at any moment of a settlement goes on with it', async () => {
    for (const delayMs of [0, 1, 3, 6, 12, 25]) {
      const { preimage, paymentHash, paying } = await makeHeld();
      const settling = lightning.node.settle({ paymentHash, preimage }, signal()).catch(() => 'unanswered');
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      await lightning.killNode();
      await settling;
      await lightning.startNode();
      await lightning.node.settle({ paymentHash, preimage }, signal());
      expect(preimageOf(await paying)).toBe(preimage);
      expect(await lightning.node.lookup(paymentHash, signal())).toMatchObject({
        state: 'settled',
        receivedMsat: INVOICE.amountMsat,
      });
    }
  });

  test('a payment that was answered with its preimage is settled also after a kill at that moment', async () => {
    const { invoice, paymentHash } = await lightning.node.createInvoice(INVOICE, signal());
    const paid = await lightning.pay(invoice);
    await lightning.killNode();
    expect(paid).toHaveProperty('preimage');
    await lightning.startNode();
    await waitForState(paymentHash, 'settled');
  });

  test('a subscriber that goes on from its cursor misses nothing, through a restart of node and subscriber', async () => {
    const seen: InvoiceChange[] = [];
    const subscribe = (cursor: string | undefined, stop: AbortSignal) =>
      lightning.node.subscribe(
        cursor,
        async (change) => {
          seen.push(change);
        },
        stop,
      );
    const sees = (paymentHash: string, state: string) =>
      waitUntil(() =>
        seen.some((change) => change.paymentHash === paymentHash && change.standing.state === state),
      );
    const first = new AbortController();
    const running = subscribe(undefined, first.signal);
    const held = await makeHeld();
    await sees(held.paymentHash, 'held');
    await lightning.killNode();
    await lightning.startNode();
    const plain = await lightning.node.createInvoice(INVOICE, signal());
    await lightning.pay(plain.invoice);
    await sees(plain.paymentHash, 'settled');
    first.abort();
    await running;
    const cursor = seen.at(-1)?.cursor;
    await lightning.node.settle(held, signal());
    seen.length = 0;
    const second = new AbortController();
    const again = subscribe(cursor, second.signal);
    await sees(held.paymentHash, 'settled');
    second.abort();
    await again;
    expect(seen.map(({ paymentHash }) => paymentHash)).toEqual([held.paymentHash]);
    await held.paying;
  });

  test('an agent whose peer is away pays once it is back', async () => {
    const { invoice } = await lightning.node.createInvoice(INVOICE, signal());
    await lightning.killNode();
    const paying = lightning.pay(invoice);
    await lightning.startNode();
    expect(await paying).toHaveProperty('preimage');
  });
});

describe('the service', () => {
  test('nobody without its token is answered, and only the owner can read that', async () => {
    const stranger = createEmbeddedProvider({ ...lightning.provider, token: 'a'.repeat(48) });
    await expect(stranger.balance(signal())).rejects.toThrow('401');
    expect(await stranger.health(signal())).toBe(false);
    for (const name of ['service.json', 'seed', 'journal', 'chain']) {
      expect(statSync(join(lightning.gatewayFolder, name)).mode & 0o077).toBe(0);
    }
    const path = new URL('/agent/guess/pay', lightning.payUrl);
    expect((await fetch(path, { method: 'POST', body: '{}' })).status).toBe(404);
  });

  test('what cannot be read is refused, and the node goes on', async () => {
    const { url, token } = lightning.provider;
    const headers = { authorization: `Bearer ${token}` };
    const post = async (path: string, body: string) =>
      (await fetch(`${url}${path}`, { method: 'POST', headers, body })).status;
    expect(await post('/invoices', '{')).toBe(400);
    expect(await post('/invoices', '{"amountMsat":"-1","memo":"","expirySeconds":1}')).toBe(400);
    expect(await post('/invoices', '{"amountMsat":"0","memo":"","expirySeconds":1}')).toBe(400);
    expect(await post('/invoices', `{"memo":"${'x'.repeat(200_000)}"}`)).toBe(409);
    expect(await post('/payments', '{"invoice":"no","feeMaxMsat":"0","timeoutMs":1}')).toBe(409);
    expect(await post('/nothing', '{}')).toBe(404);
    const { paymentHash } = makeSecret();
    expect(await stateOf(paymentHash)).toBe('missing');
    await expect(lightning.node.cancel(paymentHash, signal())).rejects.toThrow('no such invoice');
    expect(await lightning.node.health(signal())).toBe(true);
  });

  test('two processes never run the node of one folder', async () => {
    const again = startLightningNode({ folder: lightning.gatewayFolder, role: { kind: 'gateway' } });
    await expect(again).rejects.toThrow('another process runs');
    expect(await lightning.node.health(signal())).toBe(true);
  });

  test('it runs in no production and on no network but regtest', async () => {
    const options = { folder: '/nowhere', role: { kind: 'gateway' }, fail: () => {} } as const;
    const start = (environment: string, network: string) =>
      startEmbeddedService({ ...options, environment, network });
    await expect(start('production', 'regtest')).rejects.toThrow('production');
    for (const network of ['mainnet', 'testnet', 'signet', '']) {
      await expect(start('development', network)).rejects.toThrow('regtest only');
    }
  });

  test('a hold is given back before its deadline comes near', async () => {
    const before = await lightning.agentBalance();
    const { paymentHash, paying } = await makeHeld();
    const { holdDeadline } = await lightning.node.lookup(paymentHash, signal());
    const blocks = Math.round(((holdDeadline?.getTime() ?? 0) - Date.now()) / BLOCK_MS);
    expect(blocks).toBeGreaterThan(40);
    await lightning.mine(blocks - 5);
    expect(await stateOf(paymentHash)).toBe('held');
    await lightning.mine(6);
    expect(await paying).toHaveProperty('error');
    expect(await stateOf(paymentHash)).toBe('cancelled');
    await waitUntil(async () => (await lightning.agentBalance()) === before);
    expect(await lightning.node.health(signal())).toBe(true);
  });
});
