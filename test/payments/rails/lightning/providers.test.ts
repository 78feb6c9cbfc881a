import { expect, test } from 'vitest';
import { systemClock } from '../../../../src/core/clock.ts';
import type { LightningProvider } from '../../../../src/payments/rails/lightning/provider.ts';
import { createClnProvider } from '../../../../src/payments/rails/lightning/providers/cln.ts';
import { createLnbitsProvider } from '../../../../src/payments/rails/lightning/providers/lnbits.ts';
import { createLndProvider } from '../../../../src/payments/rails/lightning/providers/lnd/lnd.ts';
import { createNwcProvider } from '../../../../src/payments/rails/lightning/providers/nwc.ts';
import { createPhoenixdProvider } from '../../../../src/payments/rails/lightning/providers/phoenixd.ts';
import { startLightning, type TestLightning } from '../../../harness/lightning.ts';
import { startNwcWallet } from './nwc-wallet.ts';
import { describeProvider, type ProviderHarness } from './provider-contract.ts';
import { SHIM_SECRET, startShim, type Vendor } from './rest-shims.ts';

/** Two real nodes, the gateway's behind an adapter. */
async function startBehind(
  adapt: (lightning: TestLightning) => Promise<{ provider: LightningProvider; close(): Promise<void> }>,
): Promise<ProviderHarness> {
  const lightning = await startLightning();
  const { provider, close } = await adapt(lightning);
  return {
    provider,
    async pay(invoice) {
      const paid = await lightning.pay(invoice);
      if ('preimage' in paid) return paid.preimage;
      throw new Error(paid.error);
    },
    async invoiceElsewhere(amountMsat) {
      const terms = { amountMsat, memo: 'A payout.', expirySeconds: 600 };
      return (await lightning.agentNode.createInvoice(terms, AbortSignal.timeout(10_000))).invoice;
    },
    async close() {
      await close();
      await lightning.close();
    },
  };
}

const common = { network: 'regtest', clock: systemClock } as const;

describeProvider('the embedded node', () =>
  startBehind(async ({ node }) => ({ provider: node, close: async () => {} })),
);

for (const hasHolds of [true, false]) {
  describeProvider(`NWC ${hasHolds ? 'with' : 'without'} hold invoices`, () =>
    startBehind(async ({ node }) => {
      const wallet = await startNwcWallet(node, { hasHolds });
      return {
        provider: createNwcProvider({ ...common, url: wallet.url, pollMs: 200 }),
        close: wallet.close,
      };
    }),
  );
}

const adapters: Record<Vendor, (url: string) => LightningProvider> = {
  lnd: (url) => createLndProvider({ ...common, url, macaroonHex: SHIM_SECRET }),
  cln: (url) => createClnProvider({ ...common, url, rune: SHIM_SECRET }),
  lnbits: (url) =>
    createLnbitsProvider({ ...common, url, invoiceKey: SHIM_SECRET, adminKey: SHIM_SECRET, pollMs: 100 }),
  phoenixd: (url) => createPhoenixdProvider({ ...common, url, password: SHIM_SECRET, pollMs: 100 }),
};

for (const [vendor, adapt] of Object.entries(adapters) as [Vendor, (url: string) => LightningProvider][]) {
  describeProvider(vendor, () =>
    startBehind(async ({ node }) => {
      const shim = await startShim(vendor, node);
      return { provider: adapt(shim.url), close: shim.close };
    }),
  );
}

test('LNbits tells strangers of a payment, preimage and all: without the wallet it proves nothing', async () => {
  const { node, close } = await startLightning();
  const shim = await startShim('lnbits', node);
  try {
    const ours = adapters.lnbits(shim.url);
    const terms = { amountMsat: 1_000n, memo: 'Counts words.', expirySeconds: 60 };
    const { paymentHash } = await ours.createInvoice(terms, AbortSignal.timeout(5_000));
    const stranger = createLnbitsProvider({ ...common, url: shim.url, invoiceKey: 'stranger' });
    await expect(stranger.lookup(paymentHash, AbortSignal.timeout(5_000))).rejects.toThrow();
    expect(await ours.lookup(paymentHash, AbortSignal.timeout(5_000))).toMatchObject({ state: 'open' });
  } finally {
    await shim.close();
    await close();
  }
});
