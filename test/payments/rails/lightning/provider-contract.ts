import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../../src/core/bytes.ts';
import { readInvoice } from '../../../../src/payments/rails/lightning/bolt11.ts';
import type { InvoiceChange, LightningProvider } from '../../../../src/payments/rails/lightning/provider.ts';
import { pollUntil } from './lab.ts';

/** A node behind its adapter, with somebody who pays and somebody who is paid. */
export type ProviderHarness = {
  provider: LightningProvider;
  /** Somebody else pays; resolves with the preimage, rejects when the payment came back. */
  pay(invoice: string): Promise<string>;
  /** Somebody else's invoice. */
  invoiceElsewhere(amountMsat: bigint): Promise<string>;
  close(): Promise<void>;
};

const signal = () => AbortSignal.timeout(15_000);
const AMOUNT_MSAT = 21_000n;
const PAY_TERMS = { feeMaxMsat: 10_000n, timeoutMs: 10_000 };

/** What every adapter of a node promises, to the letter of the port. */
export function describeProvider(name: string, start: () => Promise<ProviderHarness>): void {
  describe(`${name}: what every node promises`, () => {
    let harness: ProviderHarness | undefined;
    let provider: LightningProvider;
    beforeAll(async () => {
      const started = await start();
      harness = started;
      provider = started.provider;
      expect(await provider.health(signal())).toBe(true);
    });
    afterAll(() => harness?.close());

    const outside = (): ProviderHarness => {
      if (!harness) throw new Error('the harness did not start');
      return harness;
    };
    const mint = (expirySeconds = 60) =>
      provider.createInvoice({ amountMsat: AMOUNT_MSAT, memo: 'Counts words.', expirySeconds }, signal());
    const stateOf = async (paymentHash: string) => (await provider.lookup(paymentHash, signal())).state;

    /** A hold invoice and its preimage, which we made. */
    async function mintHold() {
      const preimage = randomBytes(32).toString('hex');
      const hold = { paymentHash: sha256Hex(Buffer.from(preimage, 'hex')) };
      const minted = await provider.createInvoice(
        { amountMsat: AMOUNT_MSAT, memo: 'Counts words.', expirySeconds: 60, hold },
        signal(),
      );
      return { ...minted, preimage };
    }

    async function mintHeld() {
      const minted = await mintHold();
      const paid = outside()
        .pay(minted.invoice)
        .then(
          (preimage) => preimage,
          () => 'given back',
        );
      await pollUntil(async () => (await stateOf(minted.paymentHash)) === 'held');
      return { ...minted, paid };
    }

    test('an invoice says what was asked for', async () => {
      const minted = await mint();
      const read = readInvoice(minted.invoice);
      expect(read).toMatchObject({
        msat: AMOUNT_MSAT,
        network: provider.network,
        paymentHash: minted.paymentHash,
      });
      expect(Math.abs(minted.expiresAt.getTime() - Date.now() - 60_000)).toBeLessThan(5_000);
      expect(await provider.lookup(minted.paymentHash, signal())).toEqual({
        state: 'open',
        receivedMsat: 0n,
      });
    });

    test('a payment is settled at the node, for what was paid', async () => {
      const { msat: before } = await provider.balance(signal());
      const minted = await mint();
      const preimage = await outside().pay(minted.invoice);
      expect(sha256Hex(Buffer.from(preimage, 'hex'))).toBe(minted.paymentHash);
      await pollUntil(async () => (await stateOf(minted.paymentHash)) === 'settled');
      const standing = await provider.lookup(minted.paymentHash, signal());
      expect(standing).toMatchObject({ state: 'settled', receivedMsat: AMOUNT_MSAT });
      await pollUntil(async () => (await provider.balance(signal())).msat >= before + AMOUNT_MSAT);
      await expect(provider.cancel(minted.paymentHash, signal())).rejects.toThrow();
    });

    test('an invoice of nobody is missing, and one that nobody paid expires', async () => {
      expect(await stateOf(randomBytes(32).toString('hex'))).toBe('missing');
      const minted = await mint(1);
      await pollUntil(async () => (await stateOf(minted.paymentHash)) === 'expired');
    });

    test('a node without hold invoices says so; one with them holds, settles, and settles again', async () => {
      if (!provider.can.hold) {
        await expect(mintHold()).rejects.toThrow();
        return;
      }
      const { msat: before } = await provider.balance(signal());
      const held = await mintHeld();
      const standing = await provider.lookup(held.paymentHash, signal());
      expect(standing).toMatchObject({ state: 'held', receivedMsat: AMOUNT_MSAT });
      await provider.settle(held, signal());
      await provider.settle(held, signal());
      expect(await held.paid).toBe(held.preimage);
      expect(await stateOf(held.paymentHash)).toBe('settled');
      await pollUntil(async () => (await provider.balance(signal())).msat === before + AMOUNT_MSAT);
      await expect(provider.cancel(held.paymentHash, signal())).rejects.toThrow();
    });

    test('a held payment is given back, however often, and then cannot be taken', async () => {
      if (!provider.can.hold) {
        await expect(provider.settle({ paymentHash: '', preimage: '' }, signal())).rejects.toThrow();
        return;
      }
      const held = await mintHeld();
      await provider.cancel(held.paymentHash, signal());
      await provider.cancel(held.paymentHash, signal());
      expect(await held.paid).toBe('given back');
      expect(await stateOf(held.paymentHash)).toBe('cancelled');
      await expect(provider.settle(held, signal())).rejects.toThrow();
    });

    test('nothing that is not held can be taken', async () => {
      if (!provider.can.hold) return expect(provider.can.hold).toBe(false);
      const { paymentHash, preimage } = await mintHold();
      await expect(provider.settle({ paymentHash, preimage }, signal())).rejects.toThrow();
      await provider.cancel(paymentHash, signal());
      expect(['cancelled', 'expired']).toContain(await stateOf(paymentHash));
    });

    test('every payment is told of, after a restart from the cursor again, and only until it is enough', async () => {
      const first = await subscribe(provider, undefined);
      const minted = await mint();
      await outside().pay(minted.invoice);
      const change = await first.of(minted.paymentHash, 'settled');
      expect(change.standing).toMatchObject({ state: 'settled', receivedMsat: AMOUNT_MSAT });
      await first.stop();
      const whileAway = await mint();
      await outside().pay(whileAway.invoice);
      const second = await subscribe(provider, change.cursor);
      expect((await second.of(whileAway.paymentHash, 'settled')).standing.receivedMsat).toBe(AMOUNT_MSAT);
      if (provider.can.hold) {
        const held = await mintHeld();
        await second.of(held.paymentHash, 'held');
        await provider.settle(held, signal());
        await second.of(held.paymentHash, 'settled');
      }
      await second.stop();
    });

    test('what a listener throws, the subscription throws', async () => {
      const minted = await mint();
      await outside().pay(minted.invoice);
      const failing = provider.subscribe(
        undefined,
        async () => {
          throw new Error('the database is away');
        },
        signal(),
      );
      await expect(failing).rejects.toThrow('the database is away');
    });

    test('an invoice elsewhere is paid once, however often it is asked for', async () => {
      const invoice = await outside().invoiceElsewhere(AMOUNT_MSAT);
      const { paymentHash } = readInvoice(invoice);
      expect(await provider.track(paymentHash, signal())).toEqual({ kind: 'missing' });
      const { msat: before } = await provider.balance(signal());
      const paid = await provider.pay({ invoice, ...PAY_TERMS }, signal());
      expect(paid).toMatchObject({ kind: 'succeeded' });
      expect(await provider.pay({ invoice, ...PAY_TERMS }, signal())).toMatchObject({ kind: 'succeeded' });
      expect(await provider.track(paymentHash, signal())).toMatchObject({ kind: 'succeeded' });
      await pollUntil(async () => (await provider.balance(signal())).msat === before - AMOUNT_MSAT);
    });

    test('a caller who has gone gets a rejection, not an answer', async () => {
      const gone = AbortSignal.abort();
      await expect(provider.lookup('00'.repeat(32), gone)).rejects.toThrow();
      await expect(
        provider.createInvoice({ amountMsat: AMOUNT_MSAT, memo: '', expirySeconds: 60 }, gone),
      ).rejects.toThrow();
    });
  });
}

async function subscribe(provider: LightningProvider, cursor: string | undefined) {
  const stop = new AbortController();
  const changes: InvoiceChange[] = [];
  const running = provider.subscribe(cursor, async (change) => void changes.push(change), stop.signal);
  running.catch(() => {});
  const find = (paymentHash: string, state: string) =>
    changes.find((change) => change.paymentHash === paymentHash && change.standing.state === state);
  return {
    async of(paymentHash: string, state: string): Promise<InvoiceChange> {
      await pollUntil(async () => find(paymentHash, state) !== undefined);
      const found = find(paymentHash, state);
      if (!found) throw new Error('no such change');
      return found;
    },
    async stop() {
      stop.abort();
      await running;
    },
  };
}
