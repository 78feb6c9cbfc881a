import { randomBytes } from 'node:crypto';
import { Receipt } from 'mppx';
import { Mppx, tempo as stockTempo } from 'mppx/client';
import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../../src/core/clock.ts';
import { silentLog } from '../../../../src/core/log.ts';
import { createMppWire } from '../../../../src/payments/wires/mpp/index.ts';
import { openShop, type Shop, tillOf } from '../../wires/shop.ts';
import { quoteOf } from '../conformance.ts';
import { clientOf, type Mode, startTempoLab, type TempoLab } from './lab.ts';

const PRICE_UNITS = 2_500n;

let lab: TempoLab;
let shop: Shop;
beforeAll(async () => {
  lab = await startTempoLab();
  const wire = createMppWire({
    ...{ secrets: [randomBytes(32)], realm: 'gateway.example' },
    ...{ clock: systemClock, log: silentLog },
  });
  shop = await openShop({ wires: [wire], tills: [tillOf(lab.rail())], quote: quoteOf() });
});
afterAll(async () => {
  await shop.close();
  await lab.close();
});

/** The client of mppx as its users have it, but for where the chain is. */
function stockClient(mode?: Mode) {
  const account = privateKeyToAccount(lab.payerKey);
  const method = stockTempo.charge({
    ...{ account, getClient: () => clientOf(lab.tempo) },
    ...(mode === undefined ? {} : { mode }),
  });
  return Mppx.create({ polyfill: false, methods: [method] });
}

async function expectPaid(response: Response): Promise<void> {
  expect(response.status).toBe(200);
  const { method, status, reference } = Receipt.fromResponse(response);
  expect({ method, status }).toEqual({ method: 'tempo', status: 'success' });
  expect(await lab.tempo.rpc('eth_getTransactionReceipt', [reference])).toMatchObject({ status: '0x1' });
}

test.each<Mode | undefined>(['pull', 'push', undefined])(
  'the client of mppx pays for one answer, once (mode %s)',
  async (mode) => {
    const [before, served] = [await lab.received(), shop.served()];
    const response = await stockClient(mode).fetch(shop.url);
    await expectPaid(response);
    expect((await lab.received()) - before).toBe(PRICE_UNITS);
    expect(shop.served() - served).toBe(1);
  },
);

test('it pays for a request with a body, which arrives as it was', async () => {
  const response = await stockClient().fetch(shop.url, { method: 'POST', body: '{"text":"one two"}' });
  await expectPaid(response.clone());
  expect(await response.json()).toMatchObject({ said: '{"text":"one two"}' });
});

test('one payer buys ten answers at once, and pays for ten', async () => {
  const [before, served] = [await lab.received(), shop.served()];
  const modes = Array.from({ length: 10 }, (_, index): Mode => (index % 2 === 0 ? 'pull' : 'push'));
  const responses = await Promise.all(modes.map((mode) => stockClient(mode).fetch(shop.url)));
  for (const response of responses) await expectPaid(response);
  expect((await lab.received()) - before).toBe(10n * PRICE_UNITS);
  expect(shop.served() - served).toBe(10);
});
