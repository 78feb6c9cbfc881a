import { expect, test } from 'vitest';
import { systemClock } from '../../../../src/core/clock.ts';
import type { LightningProvider } from '../../../../src/payments/rails/lightning/provider.ts';
import { createClnProvider } from '../../../../src/payments/rails/lightning/providers/cln.ts';
import { createLnbitsProvider } from '../../../../src/payments/rails/lightning/providers/lnbits.ts';
import { createLndProvider } from '../../../../src/payments/rails/lightning/providers/lnd/lnd.ts';
import { createNwcProvider } from '../../../../src/payments/rails/lightning/providers/nwc.ts';
import { createPhoenixdProvider } from '../../../../src/payments/rails/lightning/providers/phoenixd.ts';
import { startLightning, type TestLightning } from '../../../harness/lightning.ts';
import {
  startClnShim,
  startLnbitsShim,
  startLndShim,
  startPhoenixdShim,
} from '../../../harness/lightning-shims.ts';
import { startNwcWallet } from './nwc-wallet.ts';
import { describeProvider, type ProviderHarness } from './provider-contract.ts';

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

describeProvider('LND', () =>
  startBehind(async (lightning) => {
    const { url, macaroonHex, close } = await startLndShim(lightning);
    return { provider: createLndProvider({ ...common, url, macaroonHex }), close };
  }),
);

describeProvider('Core Lightning', () =>
  startBehind(async (lightning) => {
    const { url, rune, close } = await startClnShim(lightning);
    return { provider: createClnProvider({ ...common, url, rune }), close };
  }),
);

describeProvider('LNbits', () =>
  startBehind(async (lightning) => {
    const { url, invoiceKey, adminKey, close } = await startLnbitsShim(lightning);
    return { provider: createLnbitsProvider({ ...common, url, invoiceKey, adminKey, pollMs: 200 }), close };
  }),
);

describeProvider('phoenixd', () =>
  startBehind(async (lightning) => {
    const { url, password, close } = await startPhoenixdShim(lightning);
    return { provider: createPhoenixdProvider({ ...common, url, password, pollMs: 200 }), close };
  }),
);

test('LNbits tells strangers of a payment, preimage and all: without the wallet it proves nothing', async () => {
  const lightning = await startLightning();
  const shim = await startLnbitsShim(lightning);
  const { url, invoiceKey } = shim;
  const bound = () => AbortSignal.timeout(5_000);
  try {
    const ours = createLnbitsProvider({ ...common, url, invoiceKey });
    const terms = { amountMsat: 1_000n, memo: 'Counts words.', expirySeconds: 60 };
    const { paymentHash } = await ours.createInvoice(terms, bound());
    const stranger = createLnbitsProvider({ ...common, url, invoiceKey: 'stranger' });
    await expect(stranger.lookup(paymentHash, bound())).rejects.toThrow();
    expect(await ours.lookup(paymentHash, bound())).toMatchObject({ state: 'open' });
  } finally {
    await shim.close();
    await lightning.close();
  }
});
