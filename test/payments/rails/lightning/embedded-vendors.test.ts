import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../../src/core/bytes.ts';
import { systemClock } from '../../../../src/core/clock.ts';
import type { LightningProvider } from '../../../../src/payments/rails/lightning/provider.ts';
import { createClnProvider } from '../../../../src/payments/rails/lightning/providers/cln.ts';
import { createLnbitsProvider } from '../../../../src/payments/rails/lightning/providers/lnbits.ts';
import { createLndProvider } from '../../../../src/payments/rails/lightning/providers/lnd/lnd.ts';
import { createPhoenixdProvider } from '../../../../src/payments/rails/lightning/providers/phoenixd.ts';
import { startLightning, type TestLightning } from '../../../harness/lightning.ts';
import {
  startClnShim,
  startLnbitsShim,
  startLndShim,
  startPhoenixdShim,
} from '../../../harness/lightning-shims.ts';
import { waitUntil } from '../../../harness/process.ts';
import { describeProvider } from './provider-contract.ts';

type Adapted = { provider: LightningProvider; close(): Promise<void> };

const common = { network: 'regtest', clock: systemClock } as const;

/** Each adapter before its vendor's API, with the vendor's own errors, over two real nodes. */
const VENDORS: Record<string, (lightning: TestLightning) => Promise<Adapted>> = {
  lnd: async (lightning) => {
    const { url, macaroonHex, close } = await startLndShim(lightning);
    return { provider: createLndProvider({ ...common, url, macaroonHex }), close };
  },
  cln: async (lightning) => {
    const { url, rune, close } = await startClnShim(lightning);
    return { provider: createClnProvider({ ...common, url, rune }), close };
  },
  lnbits: async (lightning) => {
    const { url, invoiceKey, adminKey, close } = await startLnbitsShim(lightning);
    return { provider: createLnbitsProvider({ ...common, url, invoiceKey, adminKey, pollMs: 100 }), close };
  },
  phoenixd: async (lightning) => {
    const { url, password, close } = await startPhoenixdShim(lightning);
    return { provider: createPhoenixdProvider({ ...common, url, password, pollMs: 100 }), close };
  },
};

let lightning: TestLightning;
beforeAll(async () => {
  lightning = await startLightning();
});
afterAll(() => lightning.close());

const signal = () => AbortSignal.timeout(30_000);
const TERMS = { amountMsat: 21_000n, memo: 'A payout.', expirySeconds: 600 };

/** Ten bitcoin are in the channel. */
const CHANNEL_MSAT = 1_000_000_000_000n;

/** What is ours once nothing is on its way: then all of the channel belongs to one side or the other. */
async function readBalance(): Promise<bigint> {
  const { msat } = await waitUntil(async () => {
    const ours = await lightning.node.balance(signal());
    const theirs = await lightning.agentNode.balance(signal());
    return ours.msat + theirs.msat === CHANNEL_MSAT ? ours : undefined;
  });
  return msat;
}

for (const [name, adapt] of Object.entries(VENDORS)) {
  describeProvider(`${name}, with the errors of its vendor`, async () => {
    const { provider, close } = await adapt(lightning);
    return {
      provider,
      pay: async (invoice) => {
        const paid = await lightning.pay(invoice);
        if ('preimage' in paid) return paid.preimage;
        throw new Error(paid.error);
      },
      invoiceElsewhere: async (amountMsat) =>
        (await lightning.agentNode.createInvoice({ ...TERMS, amountMsat }, signal())).invoice,
      close,
    };
  });

  describe(`${name}: payouts`, () => {
    let adapted: Adapted;
    beforeAll(async () => {
      adapted = await adapt(lightning);
    });
    afterAll(() => adapted.close());

    test('one that its payee holds is pending, never sent again, and known once it is over', async () => {
      const preimage = randomBytes(32).toString('hex');
      const paymentHash = sha256Hex(Buffer.from(preimage, 'hex'));
      const before = await readBalance();
      const held = await lightning.agentNode.createInvoice({ ...TERMS, hold: { paymentHash } }, signal());
      const input = { invoice: held.invoice, feeMaxMsat: 1_000n, timeoutMs: 1_000 };
      expect(await adapted.provider.pay(input, signal())).toEqual({ kind: 'pending' });
      expect(await adapted.provider.pay(input, signal())).toEqual({ kind: 'pending' });
      await lightning.agentNode.settle({ paymentHash, preimage }, signal());
      await waitUntil(async () => (await adapted.provider.track(paymentHash, signal())).kind === 'succeeded');
      expect(await adapted.provider.pay(input, signal())).toMatchObject({ kind: 'succeeded', preimage });
      expect(before - (await readBalance())).toBe(TERMS.amountMsat);
    });

    test('one that its payee refuses has not left', async () => {
      const before = await readBalance();
      const closed = await lightning.agentNode.createInvoice(TERMS, signal());
      await lightning.agentNode.cancel(closed.paymentHash, signal());
      const input = { invoice: closed.invoice, feeMaxMsat: 1_000n, timeoutMs: 10_000 };
      // Core Lightning's final answer to this says only that it gave up; the rail then asks again.
      expect(['failed', 'pending']).toContain((await adapted.provider.pay(input, signal())).kind);
      await waitUntil(
        async () => (await adapted.provider.track(closed.paymentHash, signal())).kind === 'failed',
      );
      expect(await readBalance()).toBe(before);
    });
  });
}

test('the key that LNbits mints with pays nothing', async () => {
  const { url, invoiceKey, close } = await startLnbitsShim(lightning);
  const { invoice } = await lightning.agentNode.createInvoice(TERMS, signal());
  const input = { invoice, feeMaxMsat: 1_000n, timeoutMs: 5_000 };
  const before = await readBalance();
  const provider = createLnbitsProvider({ ...common, url, invoiceKey, adminKey: invoiceKey });
  expect(await provider.pay(input, signal())).toMatchObject({ kind: 'failed' });
  expect(await readBalance()).toBe(before);
  await close();
});
