import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { ExactEvmScheme } from '@x402/evm';
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from '@x402/fetch';
import { Hono } from 'hono';
import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import type { Quote } from '../../../src/payments/quote.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import { anySignal, intentOf, quoteOf } from '../rails/conformance.ts';
import { type EvmLab, startEvmLab } from '../rails/evm-lab.ts';

let lab: EvmLab;
let url: string;
let close: () => Promise<void>;

beforeAll(async () => {
  lab = await startEvmLab();
  const server = createServer(getRequestListener(createShop(lab, quoteOf()).fetch));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/paid`;
  close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
});
afterAll(async () => {
  await close();
  await lab.close();
});

/** The smallest server that sells one answer, by our wire on our rail. */
function createShop(evm: EvmLab, quote: Quote): Hono {
  const [wire, rail] = [createX402Wire({ log: silentLog }), evm.rail()];
  const quoteToken = 'q1.shop';
  return new Hono().post('/paid', async (context) => {
    const challenge = async (error?: string) => {
      const offers = await rail.offer({ quote, address: undefined }, anySignal());
      const refusal = error === undefined ? undefined : { detail: error };
      const carried = { header: () => undefined };
      const part = wire.challenge({ quote, quoteToken, offers, carried, refusal });
      for (const [name, value] of part?.headers ?? []) context.header(name, value);
      return context.json(part?.body ?? {}, 402);
    };
    const reading = wire.read({ header: (name) => context.req.header(name) });
    if (reading === undefined) return challenge();
    if (reading.kind === 'malformed') return context.json({ reason: reading.reason }, 400);
    const verification = await rail.verify(reading.credential.form, quote, anySignal());
    if (verification.kind === 'refused') return challenge(verification.reason);
    if (verification.kind === 'unavailable') return context.json({}, 503);
    const { authorization } = verification;
    const settlement = await rail.settle(intentOf(authorization), anySignal());
    if (settlement.kind !== 'settled') return context.json(settlement.kind, 503);
    const { form, payer } = authorization;
    const paid = {
      form,
      payer,
      rail: 'evm',
      reference: settlement.reference,
      settledAt: new Date(),
    } as const;
    for (const [name, value] of wire.receipt(paid)) {
      context.header(name, value);
    }
    return context.json({ quoteToken: reading.credential.quoteToken, said: await context.req.json() });
  });
}

test('the unmodified @x402/fetch client pays, is answered, and reads its receipt', async () => {
  const account = privateKeyToAccount(lab.chain.anvil.payerPrivateKey);
  const pay = wrapFetchWithPaymentFromConfig(fetch, {
    schemes: [{ network: 'eip155:*', client: new ExactEvmScheme(account) }],
  });
  const [received, owned] = [await lab.received(), await lab.balanceOf(account.address)];
  const response = await pay(url, { method: 'POST', body: JSON.stringify({ hello: 'world' }) });
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ quoteToken: 'q1.shop', said: { hello: 'world' } });
  const receipt = decodePaymentResponseHeader(response.headers.get('PAYMENT-RESPONSE') ?? '');
  expect(receipt).toMatchObject({ success: true, network: 'eip155:84532', amount: '2500' });
  expect(receipt.payer?.toLowerCase()).toBe(account.address.toLowerCase());
  expect(await lab.chain.anvil.rpc('eth_getTransactionReceipt', [receipt.transaction])).toMatchObject({
    status: '0x1',
  });
  expect((await lab.received()) - received).toBe(2_500n);
  expect(owned - (await lab.balanceOf(account.address))).toBe(2_500n);
});

test('a client whose purse is empty reads why, and nothing moves', async () => {
  const account = privateKeyToAccount(await lab.createPayer(0n));
  const pay = wrapFetchWithPaymentFromConfig(fetch, {
    schemes: [{ network: 'eip155:*', client: new ExactEvmScheme(account) }],
  });
  const received = await lab.received();
  const response = await pay(url, { method: 'POST', body: '{}' });
  expect(response.status).toBe(402);
  expect(await response.json()).toMatchObject({ error: expect.stringContaining('owns 0 token units') });
  expect(await lab.received()).toBe(received);
});
