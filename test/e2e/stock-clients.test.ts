import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS } from '../stock-clients/ensure.ts';
import { CHEAP_SALES, DEAR_SALES } from './stock-clients-sales.ts';
import { cardWallet, WALLETS } from './stock-clients-wallets.ts';
import {
  expectBrowserFriendly,
  expectCrowdServed,
  expectOnePayment,
  expectReconciled,
  type StockClient,
  startWorld,
  type World,
} from './stock-clients-world.ts';

let world: World;

beforeAll(ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS);
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.close();
});

describe.each(Object.entries(WALLETS))('the unmodified client %s', (_, create) => {
  let client: StockClient;
  beforeAll(async () => {
    client = await create(world.rails);
    world.heard.clear();
  });

  test.each(CHEAP_SALES)('pays once, is served and is given a receipt: %s', async (...sale) => {
    await expectOnePayment(world, client, sale);
  });

  test('may send in a browser what it has sent', async () => {
    expect(world.heard.size).toBeGreaterThan(0);
    await expectBrowserFriendly(world);
  });
});

describe('the unmodified client mppx, with a card', () => {
  test.each(DEAR_SALES)('pays once, is served and is given a receipt: %s', async (...sale) => {
    await expectOnePayment(world, await cardWallet(world.rails), sale);
  });

  test('is offered no card for less than half a dollar', async () => {
    const challenge = (await world.gateway.fetch('/v1/example')).headers.get('www-authenticate');
    expect(challenge).toContain('method="evm"');
    expect(challenge).not.toContain('method="stripe"');
  });
});

test('all of them at once, two of each, are charged once for each thing they buy', async () => {
  const crowd: Parameters<typeof expectCrowdServed>[1] = [];
  for (const create of [...Object.values(WALLETS), ...Object.values(WALLETS)]) {
    crowd.push({ client: await create(world.rails), sales: CHEAP_SALES });
  }
  const card = await cardWallet(world.rails);
  await expectCrowdServed(world, [...crowd, { client: card, sales: DEAR_SALES }]);
}, 180_000);

test('after all of them every rail agrees with the books to the last unit', async () => {
  await expectReconciled(world, ['evm', 'tempo', 'lightning', 'stripe']);
});
