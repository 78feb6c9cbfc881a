import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CHEAP_SALES } from './stock-clients-sales.ts';
import { PYTHON_WALLETS } from './stock-clients-wallets.ts';
import {
  expectOnePayment,
  expectReconciled,
  type StockClient,
  startWorld,
  type World,
} from './stock-clients-world.ts';

let world: World;

beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.close();
});

describe.each(Object.entries(PYTHON_WALLETS))(
  'a client written in Python from the specification of %s',
  (wire, create) => {
    let client: StockClient;
    beforeAll(async () => {
      client = await create(world.rails);
    });

    test.each(CHEAP_SALES)('pays once, is served and is given a receipt: %s', async (...sale) => {
      await expectOnePayment(world, client, sale);
    });

    test('finds its challenge among all others in one folded line', async () => {
      const { headers } = await world.gateway.fetch('/v1/example');
      const folded = headers.get('www-authenticate') ?? '';
      expect(folded.match(/(?:^|, )(?:Payment id|L402 macaroon)=/g)?.length).toBe(4);
      const response = await client.pay(`${world.gateway.url}/v1/example`, { method: 'GET', headers: {} });
      expect(response.status, wire).toBe(200);
    });
  },
);

test('after all of them every rail agrees with the books to the last unit', async () => {
  await expectReconciled(world, ['evm', 'lightning']);
});
