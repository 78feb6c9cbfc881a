import { Credential } from 'mppx';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { creditLateArrivals, reconcileRails } from '../../../src/gateway/index.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { hookRuns, type RunHooks, withHeaders } from '../fault-lab.ts';
import { readAnswer } from '../fixtures.ts';
import { newCall, openShop, payFor, readRailClaims, type Shop } from '../rail-faults/kit.ts';
import { createPatientPayer } from '../rail-faults/payers.ts';
import { holdRuns } from './kit.ts';

let lab: RailLab;
let gateway: TestGateway;
let shop: Shop;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startRailLab(['tempo']);
  gateway = await lab.start({ change: ({ http }) => hookRuns(http, hooks) });
  shop = await openShop(gateway);
});
afterAll(() => lab?.close());

test('a signed transaction that stayed unused, and is sent all the same, is credit and answered as before', async () => {
  const payer = await createPatientPayer(lab);
  const { request } = newCall();
  const client = new AbortController();
  const { open } = holdRuns(hooks);
  const first = await payFor(gateway, payer, shop.cheap, request);
  const left = gateway.fetch(shop.cheap, { ...first, signal: client.signal }).catch(() => {});
  const stands = (state: string) => async () =>
    (await readRailClaims(lab, 'tempo')).some((each) => each.state === state);
  await waitUntil(stands('running'));
  client.abort();
  await left;
  await waitUntil(async () => {
    const rows = await lab.database.sql`SELECT 1 FROM payment_claim WHERE answer_state = 'lost'`;
    return rows.length > 0;
  });
  open();
  await waitUntil(stands('delivered'));

  const second = await payFor(gateway, payer, shop.cheap, request);
  const given = await readAnswer(await gateway.fetch(shop.cheap, second));
  const header = new Headers(second.headers).get('payment-authorization') ?? '';
  const credential = Credential.deserialize(header);
  const { signature } = credential.payload as { signature: string };
  const hash = await lab.tempo.rpc('eth_sendRawTransaction', [signature]);
  await waitUntil(() => lab.tempo.rpc('eth_getTransactionReceipt', [hash]));
  await lab.tempo.rpc('anvil_mine', ['0x80']);
  await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now(),
    intent = jsonb_set(intent, '{validUntil}', '"2020-01-01T00:00:00.000Z"') WHERE attached_to IS NOT NULL`;
  await creditLateArrivals(gateway.deps.http, AbortSignal.timeout(10_000));

  const pushed = Credential.serialize({ ...credential, payload: { type: 'hash', hash } });
  for (const again of [second, withHeaders(request, { 'payment-authorization': pushed })]) {
    expect((await readAnswer(await gateway.fetch(shop.cheap, again))).receipt_id).toBe(given.receipt_id);
  }
  const { assets } = await reconcileRails(gateway.deps.http, AbortSignal.timeout(10_000));
  expect(assets.filter(({ verdict }) => verdict !== 'agrees')).toEqual([]);
  const credits = await lab.database.sql`SELECT balance FROM ledger_payer WHERE balance > 0`;
  expect(credits).toHaveLength(1);
});
