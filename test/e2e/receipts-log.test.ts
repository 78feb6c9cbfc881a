import {
  extractReceiptFromResponse,
  isJWSSignedReceipt,
  verifyReceiptSignatureJWS,
} from '@x402/extensions/offer-receipt';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { verifyLoggedReceipt } from '../../src/provenance/index.ts';
import { createAgent, jsonBody, publishEcho, readAnswer } from './fixtures.ts';
import { bearer, expectProblem, type Surface, startSurface } from './surface.ts';

type Issued = {
  receipt: Record<string, unknown> & { code: string; seq: number; log: { origin: string; index: number } };
  jws: string;
  log?: { origin: string; index: number; entry: string; salt: string; proof: string };
};

let surface: Surface;
let server: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface();
  server = await publishEcho(surface.gateway);
});
afterAll(() => surface?.close());

async function getReceipt(id: string): Promise<Issued> {
  return (await (await surface.gateway.fetch(`/receipts/${id}`)).json()) as Issued;
}

async function getLogged(id: string): Promise<Required<Issued>> {
  return vi.waitFor(
    async () => {
      const { log, ...receipt } = await getReceipt(id);
      if (!log) throw new Error(`receipt ${id} is not logged yet`);
      return { ...receipt, log };
    },
    { timeout: 30_000, interval: 200 },
  );
}

const random = () => jsonBody({ tool: 'random', arguments: {} });

test('the receipt of a call is proven in the log within seconds, whether a key or a wallet paid', async () => {
  const { gateway, anvil } = surface;
  const key = await gateway.mint(10_000);
  const agent = await createAgent(anvil);
  const byKey = await gateway.fetch(server.call, {
    ...random(),
    headers: { 'content-type': 'application/json', ...bearer(key) },
  });
  const byWallet = await agent.fetch(gateway.url + server.call, random());
  const vkeys = (await (await gateway.fetch('/log/receipts/vkey')).text()).trim().split('\n');
  const indexes = new Set<number>();
  for (const response of [byKey, byWallet]) {
    expect(response.status).toBe(200);
    const { receipt_id } = await readAnswer(response);
    const { receipt, log } = await getLogged(receipt_id);
    const origin = `${new URL(gateway.url).host}/receipts`;
    expect(verifyLoggedReceipt(receipt, log, { origin, vkeys })).toMatchObject({
      ...{ kind: 'valid', index: log.index },
    });
    expect(receipt.code).toBe(server.body.code_hash);
    expect(receipt.log.origin).toBe(new URL(gateway.url).host);
    indexes.add(log.index);
  }
  expect(indexes.size).toBe(2);
});

test('a paid answer carries Payment-Receipt and the receipt of x402, which holds by the key at its DID', async () => {
  const { gateway, anvil } = surface;
  const agent = await createAgent(anvil);
  const unpaid = await gateway.fetch(server.call, random());
  const headers = { 'content-type': 'application/json', ...(await agent.sign(unpaid)) };
  const answers = [await gateway.fetch(server.call, { ...random(), headers })];
  // The same payment again is the same answer, with the same receipt.
  answers.push(await gateway.fetch(server.call, { ...random(), headers }));
  const receipts = answers.map((answer) => {
    expect(answer.status).toBe(200);
    expect(answer.headers.get('payment-receipt')).toMatch(/^[\w-]+$/);
    return extractReceiptFromResponse(answer);
  });
  expect(receipts[1]).toEqual(receipts[0]);
  const [receipt] = receipts;
  if (!receipt || !isJWSSignedReceipt(receipt)) throw new Error('no receipt');
  // Without a key in hand the library resolves `kid` at /.well-known/did.json of the gateway.
  expect(await verifyReceiptSignatureJWS(receipt)).toEqual({
    ...{ version: 1, network: `eip155:${anvil.chainId}`, payer: agent.account.address.toLowerCase() },
    resourceUrl: expect.stringContaining(`${gateway.url}/invoke/`),
    issuedAt: expect.any(Number),
  });
});

test('a receipt that does not exist is told, and a proof tells of its own receipt alone', async () => {
  const { gateway } = surface;
  for (const id of ['nonsense', '00000000-0000-4000-8000-000000000000']) {
    await expectProblem(await gateway.fetch(`/receipts/${id}`), 404, 'not-found');
  }
  const payers = [await gateway.mint(10_000), await gateway.mint(10_000)];
  const ids: string[] = [];
  for (const key of payers) {
    const headers = { 'content-type': 'application/json', ...bearer(key) };
    ids.push((await readAnswer(await gateway.fetch(server.call, { ...random(), headers }))).receipt_id);
  }
  const [first, second] = [await getLogged(ids[0] ?? ''), await getLogged(ids[1] ?? '')];
  const { jti, payer, payment_ref, req, res } = second.receipt;
  expect(payer).not.toBe(first.receipt.payer);
  for (const secret of [jti, payer, payment_ref, second.log.salt]) {
    expect(JSON.stringify(first)).not.toContain(secret);
  }
  // Requests and results are the same here, and the log still tells nobody so.
  expect([req, res]).toHaveLength(2);
  expect(first.log.entry).not.toContain(String(req).slice(7));
  const entries = await gateway.fetch(`/log/receipts/tile/entries/000.p/${await treeSize()}`);
  const text = await entries.text();
  for (const { receipt, log } of [first, second]) {
    expect(text).toContain(log.entry);
    for (const secret of [receipt.jti, receipt.payer, receipt.payment_ref, log.salt, receipt.req]) {
      expect(text).not.toContain(String(secret));
    }
  }
});

async function treeSize(): Promise<string> {
  const note = await (await surface.gateway.fetch('/log/receipts/checkpoint')).text();
  return note.split('\n')[1] ?? '';
}
