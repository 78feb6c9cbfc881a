import { setTimeout as sleep } from 'node:timers/promises';
import { parseUnits } from 'viem';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { TestGateway } from '../../harness/gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { hookRuns, type RunHooks } from '../fault-lab.ts';
import { createAgent, drain, readAnswer } from '../fixtures.ts';
import {
  expectAnswer,
  expectCredit,
  expectReconciled,
  expectUnknown,
  newCall,
  openShop,
  pathOf,
  payFor,
  readRailClaims,
  type Shop,
  untilQuiet,
} from './kit.ts';
import {
  ALL_CASES,
  createTempoClient,
  l402,
  RAIL_CASES,
  type RailCase,
  readInvoice,
  stealPreimage,
} from './payers.ts';
import { spendOnTempo } from './tempo-spender.ts';

const SETTLE_TIMEOUT_MS = 2_500;

let lab: RailLab;
let gateway: TestGateway;
let shop: Shop;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startRailLab();
  gateway = await lab.start({
    change({ http }) {
      hookRuns(http, hooks);
      http.settings = { ...http.settings, settleTimeoutMs: SETTLE_TIMEOUT_MS, outcomeWaitMs: 1_500 };
    },
  });
  shop = await openShop(gateway);
});
afterEach(async () => {
  hooks.before = undefined;
  hooks.after = undefined;
  await setAutomine(true);
  await expectReconciled(lab, gateway);
});
afterAll(() => lab?.close());

const runsOf = (label: string) => hooks.runs.filter((run) => run === label).length;
const bound = () => AbortSignal.timeout(20_000);
const lastClaim = async ({ rail }: RailCase) => (await readRailClaims(lab, rail)).at(-1);

async function setAutomine(isOn: boolean): Promise<void> {
  await Promise.all([lab.anvil, lab.tempo].map((chain) => chain.rpc('evm_setAutomine', [isOn])));
}

/** Nothing of a rail answers any more. */
function breakRail({ rail }: RailCase): void {
  const { doors, stripe } = lab;
  if (rail !== 'stripe') {
    doors[rail]?.decide(() => 'refuse');
    return;
  }
  for (const operation of ['token.retrieve', 'payment.create', 'payment.capture'] as const)
    stripe.faults.add({ operation, when: 'before' });
  for (const operation of ['payment.retrieve', 'payment.search', 'payment.list'] as const)
    stripe.faults.add({ operation, when: 'before' });
}

/** What the gateway looks at in the background, looked at now: often enough to believe it. */
async function lookAtRails(): Promise<void> {
  const looks = gateway.deps.jobs.filter(({ name }) => name === 'resume-evm' || name === 'look-at-tempo');
  expect(looks).toHaveLength(2);
  for (const { run } of [...looks, ...looks]) await run(bound());
}

/** A credential that is good and that the rail has to be asked about; on Lightning nobody has paid it yet. */
async function makeCredential(railCase: RailCase, path: string, request: RequestInit) {
  const unpaid = await fetchOffer(railCase, path, request);
  if (railCase.rail !== 'lightning') {
    const payer = await railCase.createPayer(lab);
    return { ...request, headers: { ...request.headers, ...(await payer.pay(unpaid)) } };
  }
  const { macaroon } = readInvoice(unpaid);
  const [row] = await lab.database.sql<{ paymentHash: string }[]>`
    SELECT payment_hash FROM payment_invoice ORDER BY created_at DESC LIMIT 1`;
  const preimage = await stealPreimage(lab, row?.paymentHash ?? '');
  return { ...request, headers: { ...request.headers, ...l402(macaroon, preimage) } };
}

/** By which lines of a 402 a rail can be paid. */
const OFFERS = {
  evm: /method="evm"/,
  tempo: /method="tempo"/,
  lightning: /L402 /,
  stripe: /method="stripe"/,
};

async function readOffered(path: string): Promise<Set<string>> {
  const response = await gateway.fetch(path, newCall().request);
  const lines = response.headers.get('www-authenticate') ?? '';
  return new Set(Object.entries(OFFERS).flatMap(([name, line]) => (line.test(lines) ? [name] : [])));
}

/** A 402 that the rail can pay. One that was away in the test before is offered again once it was looked at. */
function fetchOffer({ rail }: RailCase, path: string, request: RequestInit): Promise<Response> {
  return waitUntil(async () => {
    const response = await gateway.fetch(path, request);
    return OFFERS[rail].test(response.headers.get('www-authenticate') ?? '') ? response : undefined;
  });
}

describe.each(ALL_CASES)('$name, down before', (railCase: RailCase) => {
  test('a credential is told to come again, nothing is taken, and it pays once the rail is back', async () => {
    const before = await railCase.received(lab);
    const path = pathOf(shop, railCase);
    const claims = (await readRailClaims(lab, railCase.rail)).length;
    const { label, request } = newCall();
    const paid = await makeCredential(railCase, path, request);
    const moved = (await railCase.received(lab)) - before;
    breakRail(railCase);
    const body = await expectUnknown(await gateway.fetch(path, paid), 'unavailable');
    expect(body.note).toBe('no charge applied');
    lab.mend();
    expect((await readRailClaims(lab, railCase.rail)).length).toBe(claims);
    expect(runsOf(label)).toBe(0);
    expect((await railCase.received(lab)) - before).toBe(moved);
    const again = await gateway.fetch(path, paid);
    // On Lightning nobody has paid: the right preimage alone is worth nothing.
    if (railCase.rail === 'lightning') {
      await expectUnknown(again, 'unavailable');
      expect(runsOf(label)).toBe(0);
      return;
    }
    await expectAnswer(again);
    expect(runsOf(label)).toBe(1);
    expect((await railCase.received(lab)) - before).toBe(railCase.units);
  });
});

describe('a 402 while rails are down', () => {
  test('goes without each of them, and all of them are back when they are', async () => {
    await lookAtRails();
    await waitUntil(async () => (await readOffered(shop.dear)).size === 4);
    for (const name of ['evm', 'pull', 'lightning'] as const) {
      const { rail } = RAIL_CASES[name];
      breakRail(RAIL_CASES[name]);
      await lookAtRails();
      const offered = await waitUntil(async () => {
        const found = await readOffered(shop.dear);
        return !found.has(rail) && found;
      });
      expect(offered).toEqual(
        new Set(['evm', 'tempo', 'lightning', 'stripe'].filter((each) => each !== rail)),
      );
      lab.mend();
      await lookAtRails();
      await waitUntil(async () => (await readOffered(shop.dear)).has(rail));
    }
  });

  test('is a 503 without a challenge when all of them are, and Stripe is back after a pause', async () => {
    const request = newCall().request;
    const card = await makeCredential(RAIL_CASES.stripe, shop.dear, request);
    for (const railCase of ALL_CASES) breakRail(railCase);
    // Stripe is known to be down by what it does not answer.
    await expectUnknown(await gateway.fetch(shop.dear, card), 'unavailable');
    await lookAtRails();
    await waitUntil(async () => (await gateway.fetch(shop.dear, request)).status === 503);
    await expectUnknown(await gateway.fetch(shop.dear, request), 'unavailable');
    const cheap = await gateway.fetch(shop.cheap, newCall().request);
    await expectUnknown(cheap, 'unavailable');
    lab.mend();
    await lookAtRails();
    await expectAnswer(await gateway.fetch(shop.dear, card));
    await waitUntil(async () => (await readOffered(shop.dear)).size === 4);
  });
});

/** From the step that moves the money on, the rail is not heard any more: before that step, or after it. */
function silence(railCase: RailCase, when: 'before' | 'after'): void {
  const fate = when === 'before' ? 'refuse' : 'swallow';
  let isSilent = false;
  let receipts = 0;
  const chain = (method: string) => {
    receipts += method === 'eth_getTransactionReceipt' ? 1 : 0;
    isSilent ||= method === 'eth_sendRawTransaction';
    // What the payer has sent itself has been verified by then.
    isSilent ||= railCase.name === 'tempo push' && receipts > 1;
    return isSilent ? fate : 'pass';
  };
  switch (railCase.rail) {
    case 'evm':
    case 'tempo':
      lab.doors[railCase.rail]?.decide(chain);
      return;
    case 'lightning':
      lab.doors.lightning?.decide((request) => {
        isSilent ||= request.endsWith('/settle');
        return isSilent ? fate : 'pass';
      });
      return;
    case 'stripe':
      lab.stripe.faults.add({ operation: 'payment.capture', when });
      hooks.after = () => lab.stripe.faults.add({ operation: 'payment.retrieve', when: 'before' });
      return;
    default:
      railCase.rail satisfies never;
  }
}

describe.each(ALL_CASES)('$name', (railCase: RailCase) => {
  test.each(['after', 'before'] as const)(
    'dies %s the money moved: 503 without a challenge, then the answer to the same payment, charged once',
    async (when) => {
      const before = await railCase.received(lab);
      const path = pathOf(shop, railCase);
      const { label, request } = newCall();
      const payer = await railCase.createPayer(lab);
      const unpaid = await fetchOffer(railCase, path, request);
      silence(railCase, when);
      // On Lightning a payment that is held goes on only when its call was settled.
      const paying = payer.pay(unpaid);
      if (railCase.rail === 'lightning' && when === 'before') {
        await waitUntil(async () => (await lastClaim(railCase))?.state === 'settling');
        await sleep(SETTLE_TIMEOUT_MS);
        lab.mend();
      }
      const paid = { ...request, headers: { ...request.headers, ...(await paying) } };
      if (railCase.rail !== 'lightning' || when === 'after') {
        await expectUnknown(await gateway.fetch(path, paid), 'outcome-unknown');
        // While nobody knows, showing the payment again does not ask for another one.
        await expectUnknown(await gateway.fetch(path, paid), 'outcome-unknown');
      }
      lab.mend();
      await untilQuiet(lab);
      const claim = await lastClaim(railCase);
      const response = await gateway.fetch(path, paid);
      if (claim?.mode === 'before-run') await expectCredit(gateway, response, railCase.price);
      else {
        const body = await expectAnswer(response);
        expect(body.receipt_id).toBe(claim?.id);
        expect(await readAnswer(await gateway.fetch(path, paid))).toEqual(body);
      }
      expect(runsOf(label)).toBe(claim?.mode === 'before-run' ? 0 : 1);
      expect((await railCase.received(lab)) - before).toBe(railCase.units);
    },
  );
});

describe('a payer who gets away with its money after the run', () => {
  type Getaway = { pay: RailCase['createPayer']; empty(): Promise<void> };
  const getaways: [string, RailCase, () => Promise<Getaway>][] = [
    [
      'evm',
      RAIL_CASES.evm,
      async () => {
        const agent = await createAgent(lab.anvil);
        return { pay: async () => ({ pay: agent.sign }), empty: () => drain(lab.anvil, agent) };
      },
    ],
    [
      'tempo pull',
      RAIL_CASES.pull,
      async () => {
        const key = await lab.tempo.fundPayer(parseUnits('10', 6));
        const client = createTempoClient(lab, key, 'pull');
        return {
          pay: async () => ({
            pay: async (response) => ({ 'payment-authorization': await client.createCredential(response) }),
          }),
          empty: () => spendOnTempo(lab.tempo, key),
        };
      },
    ],
  ];

  test.each(getaways)(
    '%s: it is not given the result, and counts as a loss',
    async (_name, railCase, make) => {
      const before = await railCase.received(lab);
      const { pay, empty } = await make();
      const { label, request } = newCall();
      const paid = await payFor(gateway, await pay(lab), shop.cheap, request);
      hooks.before = empty;
      for (const response of [await gateway.fetch(shop.cheap, paid), await gateway.fetch(shop.cheap, paid)]) {
        expect(response.status).toBe(402);
        expect(await response.json()).not.toHaveProperty('result');
      }
      expect(runsOf(label)).toBe(1);
      const claim = await lastClaim(railCase);
      expect(claim).toMatchObject({ state: 'failed', reference: null });
      const memo = await lab.database
        .sql`SELECT state, is_loss FROM ledger_exposure WHERE id = ${claim?.id ?? ''}`;
      expect([...memo]).toEqual([{ state: 'void', isLoss: 1 }]);
      expect(await railCase.received(lab)).toBe(before);
    },
  );
});

describe('a chain that mines nothing for a while', () => {
  test.each([RAIL_CASES.evm, RAIL_CASES.pull] as RailCase[])(
    '$name: the call stays unknown and unbooked, and is then delivered, charged once',
    async (railCase) => {
      const before = await railCase.received(lab);
      const { label, request } = newCall();
      const payer = await railCase.createPayer(lab);
      const paid = await payFor(gateway, payer, shop.cheap, request);
      hooks.after = () => setAutomine(false);
      await expectUnknown(await gateway.fetch(shop.cheap, paid), 'outcome-unknown');
      const claim = await lastClaim(railCase);
      const entries = await lab.database.sql`
        SELECT FROM ledger_entry WHERE transfer_id = ${claim?.id ?? ''}`;
      expect([...entries]).toEqual([]);
      expect(await railCase.received(lab)).toBe(before);
      await setAutomine(true);
      await Promise.all([lab.anvil, lab.tempo].map((chain) => chain.rpc('evm_mine')));
      await untilQuiet(lab);
      expect(await expectAnswer(await gateway.fetch(shop.cheap, paid))).toMatchObject({
        receipt_id: claim?.id,
      });
      expect(runsOf(label)).toBe(1);
      expect((await railCase.received(lab)) - before).toBe(railCase.units);
    },
  );
});
