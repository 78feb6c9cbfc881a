import { fetchWithL402 } from '@getalby/lightning-tools/402';
import { Receipt } from 'mppx';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Rails } from '../../scripts/dev/rails.ts';
import type { Rail } from '../../src/payments/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { startTestRails } from '../harness/rails.ts';
import { createAgent, jsonBody, readAnswer, readBooks } from './fixtures.ts';

// What happens to a client between its 402 and its payment.

let rails: Rails;
let database: TestDatabase;
let gateway: TestGateway;

beforeAll(async () => {
  [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  gateway = await startTestGateway({
    ...{ database, env: rails.environment },
    change({ http }) {
      http.rails = http.rails.map((rail) => (rail.name === 'lightning' ? tellWhileShown(rail) : rail));
    },
  });
});
afterAll(async () => {
  expect(await readBooks(gateway)).toMatchObject({ balanced: true, discrepancies: [] });
  await gateway?.close();
  await Promise.all([database?.close(), rails?.close()]);
});

/** The node tells of a payment only once its request was verified, and the request goes on when that is done. */
function tellWhileShown(rail: Rail): Rail {
  const { watch } = rail;
  if (!watch) throw new Error(`${rail.name} tells of no payments`);
  const [shown, told] = [openGate(), openGate()];
  return {
    ...rail,
    async verify(form, quote, signal) {
      const verification = await rail.verify(form, quote, signal);
      shown.open();
      await told.opened;
      return verification;
    },
    watch: (onArrival, signal) =>
      watch(async (arrival) => {
        await shown.opened;
        await onArrival(arrival);
        told.open();
      }, signal),
  };
}

function openGate(): { opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((done) => {
    open = done;
  });
  return { opened, open: () => open() };
}

test('a payment that is claimed by itself while it is shown is answered with its receipt', async () => {
  const key = await gateway.mint(0);
  const before = await rails.lightning.agentBalance();
  const init = jsonBody({ amount_mcents: 1_000 }, { 'x-api-key': key });
  const wallet = {
    async payInvoice({ invoice }: { invoice: string }) {
      const paid = await fetch(rails.lightning.payUrl, jsonBody({ invoice }));
      return (await paid.json()) as { preimage: string };
    },
  };
  const response = await fetchWithL402(`${gateway.url}/v1/topup`, init, { wallet });
  expect(await readAnswer(response)).toMatchObject({ ok: true, balance_mcents: 1_000 });
  expect(Receipt.fromResponse(response)).toMatchObject({ method: 'lightning', status: 'success' });
  expect(before - (await rails.lightning.agentBalance())).toBe(11_000n);
});

test('a signup that is paid by a quote of before a change of the price buys the sum of that quote', async () => {
  const dear = { SIGNUP_PRICE_MCENTS: '60000', SIGNUP_CREDIT_MCENTS: '65000' };
  const changed = await startTestGateway({ database, env: { ...rails.environment, ...dear } });
  const agent = await createAgent(rails.anvil);
  const unpaid = await gateway.fetch('/v1/signup', jsonBody({}));
  const late = await changed.fetch('/v1/signup', jsonBody({}, await agent.sign(unpaid)));
  expect(await readAnswer(late)).toMatchObject({ ok: true, balance_mcents: 10_000 + 5_000 });
  const now = await agent.fetch(`${changed.url}/v1/signup`, jsonBody({}));
  expect(await readAnswer(now)).toMatchObject({ ok: true, balance_mcents: 65_000 });
  expect(await agent.owns()).toBe(10_000_000n - 100_000n - 600_000n);
  await changed.close();
});
