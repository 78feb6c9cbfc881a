import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLanes, watchLog } from '../../src/cli/audit-sales/lanes.ts';
import { auditSalesCommand } from '../../src/cli/audit-sales.ts';
import { newUuid } from '../../src/core/ids.ts';
import { millicents } from '../../src/core/money.ts';
import { feeOf } from '../../src/ledger/index.ts';
import { encodeCommitment } from '../../src/provenance/index.ts';
import { createAgent, jsonBody, publishEcho } from '../e2e/fixtures.ts';
import { bearer, countByStatus, expectProblem, type Surface, startSurface, times } from '../e2e/surface.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';

type Listed = {
  receipt: { jti: string; seq: number; lane: string; price_mcents: string; fee_mcents: string; iat: number };
  log: { index: number; salt: string } | null;
};
type Page = { sales: Listed[]; next_cursor?: string };
type Sums = {
  name: string;
  count: number;
  gross_mcents: number;
  lanes: { lane: string; last_seq: number }[];
};
type Summary = { tools: Sums[] };
type Published = Awaited<ReturnType<typeof publishEcho>>;
/** What a gateway that lies makes of an answer; undefined to leave it. */
type Lie = (path: string, body: Buffer) => Buffer | object | undefined;

const CALLS = 300;
/** One more by a call with a key, one by a call with a credential, and one by another gateway. */
const SALES = CALLS + 3;
let surface: Surface;
let server: Published;
let other: Published;
let another: TestGateway;
let buyer: string;
let liar: Server;
let lie: Lie = () => undefined;
let folder: string;
let vkey: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-audit-'));
  surface = await startSurface();
  const { gateway } = surface;
  [server, other] = [await publishEcho(gateway), await publishEcho(gateway)];
  buyer = await gateway.mint(1_000_000);
  await sellMany(CALLS);
  await sell();
  const agent = await createAgent(surface.anvil);
  const paid = await agent.fetch(gateway.url + server.call, jsonBody({ tool: 'random', arguments: {} }));
  expect(paid.status).toBe(200);
  another = await startTestGateway({ ...surface, publicUrl: gateway.url });
  const call = jsonBody({ tool: 'random', arguments: {} }, bearer(buyer));
  const last = await readJson<{ receipt_id: string }>(await another.fetch(server.call, call));
  for (const { receipt_id } of [await readJson<{ receipt_id: string }>(paid), last])
    await waitUntilLogged(receipt_id);
  vkey = (await (await gateway.fetch('/log/receipts/vkey')).text()).trim();
  liar = createServer((request, response) => {
    void tellLies(request.url ?? '/', request.headers.authorization).then(
      ({ status, body }) => response.writeHead(status).end(body),
      () => response.destroy(),
    );
  });
  await new Promise<void>((done) => liar.listen(0, '127.0.0.1', done));
}, 180_000);
afterAll(async () => {
  liar?.close();
  await another?.close();
  rmSync(folder, { recursive: true, force: true });
  await surface?.close();
});

async function readJson<T>(response: Response): Promise<T> {
  return (await response.json()) as T;
}

/** Stands in front of the gateway and answers what `lie` makes of it. */
async function tellLies(path: string, authorization = ''): Promise<{ status: number; body: Buffer }> {
  const response = await surface.gateway.fetch(path, { headers: { authorization } });
  const body = Buffer.from(await response.arrayBuffer());
  const told = response.ok ? lie(path, body) : undefined;
  if (told === undefined) return { status: response.status, body };
  return { status: 200, body: Buffer.isBuffer(told) ? told : Buffer.from(JSON.stringify(told)) };
}

/** Sales through the charge statement itself, as fast as it goes. */
async function sellMany(count: number): Promise<void> {
  const { http } = surface.gateway.deps;
  const listing = await http.catalog.findListing(server.name);
  const principal = await http.keys.resolve(buyer);
  if (!listing || !principal) throw new Error('nothing to sell, or nobody to buy');
  const sales = Array.from({ length: count }, async (_, at) => {
    const [id, amount] = [newUuid(), millicents(at % 7 === 0 ? 1 : 50 + (at % 5))];
    const terms = {
      id,
      accountId: principal.accountId,
      keyId: undefined,
      payeeId: listing.server.publisherId,
    };
    const hash = Buffer.alloc(32, at);
    const sold = await http.charger.charge(
      {
        ...{ ...terms, subject: listing.version.id, label: 'x', amount, lifetimeMs: 60_000 },
        fee: feeOf(amount, 'hosted', id),
      },
      {
        ...{ toolId: listing.server.id, versionId: listing.version.id, toolName: 'random', rail: 'key' },
        ...{ payer: 'payer:x', paymentRef: `call:${id}`, requestHash: hash, responseHash: hash },
      },
    );
    expect(sold.kind).toBe('held');
  });
  await Promise.all(sales);
}

async function sell(): Promise<string> {
  const call = jsonBody({ tool: 'random', arguments: {} }, bearer(buyer));
  const answer = await readJson<{ receipt_id: string }>(await surface.gateway.fetch(server.call, call));
  return answer.receipt_id;
}

async function waitUntilLogged(id: string): Promise<void> {
  const look = async () => {
    const receipt = await readJson<object>(await surface.gateway.fetch(`/receipts/${id}`));
    expect(receipt).toHaveProperty('log');
  };
  await vi.waitFor(look, { timeout: 30_000, interval: 200 });
}

async function audit(
  values: Record<string, string | string[]> = {},
  url = `http://127.0.0.1:${(liar.address() as AddressInfo).port}`,
) {
  const lines: string[] = [];
  const code = await auditSalesCommand.run({
    ...{ values: { key: server.key, vkey: [vkey], ...values }, positionals: [], url },
    print: (text) => lines.push(text),
    complain: (text) => lines.push(text),
    readFirstLine: async () => server.key,
    signal: AbortSignal.timeout(60_000),
  });
  return { code, out: lines.join('\n') };
}

/** Changes every page of sales. */
function onSales(change: (sales: Listed[]) => Listed[]): Lie {
  return (path, body) => {
    if (!path.startsWith('/v1/sales?')) return undefined;
    const page = JSON.parse(body.toString()) as Page;
    return { ...page, sales: change(page.sales) };
  };
}

async function auditLie(told: Lie, values: Record<string, string | string[]> = {}) {
  lie = told;
  try {
    return await audit(values);
  } finally {
    lie = () => undefined;
  }
}

const isSeq = (seq: number) => (sale: Listed) => sale.receipt.seq === seq;

describe('an audit of sales', () => {
  it('proves that nothing was left out, over tiles, pages, lanes and ways to pay', async () => {
    const { code, out } = await audit();
    expect(out).toContain(`${server.name}: ${SALES} sales on 2 lanes`);
    expect(out).toContain(`${SALES} open their commitment`);
    expect(out).toContain(`No sale of ${server.name} was left out: receipts, log and books agree.`);
    expect([code, out]).toEqual([0, expect.not.stringContaining('FAULT')]);
  });

  it('runs as a command with the key on standard input, and takes the key of the log from the gateway', async () => {
    const main = join(import.meta.dirname, '../../src/cli/millicent.mjs');
    const child = spawn(main, ['audit-sales', '--url', surface.gateway.url, '--tool', server.name]);
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.stdin.end(`${server.key}\n`);
    const [code] = await once(child, 'close');
    expect({ code, out, err }).toEqual({
      code: 0,
      out: expect.stringContaining('was left out: receipts, log and books agree'),
      err: expect.stringContaining('Without --vkey'),
    });
  });

  it('names a sale that the list leaves out, in the middle and at the end', async () => {
    const middle = await auditLie(onSales((sales) => sales.filter((sale) => !isSeq(7)(sale))));
    expect(middle).toMatchObject({ code: 1, out: expect.stringMatching(/left out, number 7 is in the log/) });
    const end = await auditLie(onSales((sales) => sales.filter(({ receipt }) => receipt.seq < CALLS)));
    expect(end).toMatchObject({
      code: 1,
      out: expect.stringMatching(/left out, numbers 300 to 302 is in the log/),
    });
    const all = await auditLie(onSales(() => []));
    expect(all).toMatchObject({ code: 1, out: expect.stringMatching(/left out, numbers 1 to 302/) });
  });

  it('names a sale that is listed twice', async () => {
    const twice = await auditLie(
      onSales((sales) => sales.flatMap((sale) => (isSeq(9)(sale) ? [sale, sale] : [sale]))),
    );
    expect(twice).toMatchObject({ code: 1, out: expect.stringMatching(/number 9: duplicate/) });
    const renumbered = await auditLie(
      onSales((sales) =>
        sales.map((sale) =>
          isSeq(10)(sale)
            ? {
                ...(sales.find(isSeq(9)) ?? sale),
                receipt: { ...(sales.find(isSeq(9)) ?? sale).receipt, seq: 10 },
              }
            : sale,
        ),
      ),
    );
    expect(renumbered).toMatchObject({
      code: 1,
      out: expect.stringMatching(/number 10: duplicate, receipt/),
    });
    expect(renumbered.out).toMatch(/number 10: wrong/);
  });

  it('names a wrong amount with both figures, in a receipt and in the books', async () => {
    const cheaper = await auditLie(
      onSales((sales) =>
        sales.map((sale) =>
          isSeq(2)(sale)
            ? { ...sale, receipt: { ...sale.receipt, price_mcents: '11', fee_mcents: '2' } }
            : sale,
        ),
      ),
    );
    expect(cheaper.code).toBe(1);
    expect(cheaper.out).toMatch(/number 2: wrong, what is listed \(price 11, fee 2 mcents\)/);
    expect(cheaper.out).toMatch(/wrong gross amount, the receipts say \d+ and the books say \d+/);
    const booked = await auditLie((path, body) => {
      if (!path.startsWith('/v1/sales/summary')) return undefined;
      const summary = JSON.parse(body.toString()) as Summary;
      return { tools: summary.tools.map((tool) => ({ ...tool, gross_mcents: tool.gross_mcents - 40 })) };
    });
    expect(booked).toMatchObject({ code: 1, out: expect.stringMatching(/wrong gross amount/) });
  });

  it('names what the log holds and the books do not, whatever numbers the books are summed up to', async () => {
    const nothing = { count: 0, gross_mcents: 0, fees_mcents: 0, net_mcents: 0, lanes: [] };
    const unpaid = await auditLie((path, body) => {
      if (!path.startsWith('/v1/sales/summary')) return undefined;
      const { tools } = JSON.parse(body.toString()) as Summary;
      return { tools: tools.map((tool) => ({ ...tool, ...nothing })) };
    });
    expect(unpaid).toMatchObject({
      code: 1,
      out: expect.stringMatching(/left out, numbers 1 to 302 is in the log and not in the books/),
    });
    let asked = 0;
    const gone = await auditLie((path) => {
      if (!path.startsWith('/v1/sales/summary')) return undefined;
      asked += 1;
      return asked === 1 ? undefined : { tools: [] };
    });
    expect(gone).toMatchObject({ code: 1, out: expect.stringContaining('the books leave it out') });
  });

  it('says nothing of sales that it was told nothing of, and follows no pages without an end', async () => {
    const silent = await auditLie((path) =>
      path.startsWith('/v1/sales/summary') ? { tools: [] } : undefined,
    ).catch((cause: Error) => cause.message);
    expect(silent).toContain('nothing was audited');
    let pages = 0;
    const endless = await auditLie((path) => {
      pages += 1;
      return path.startsWith('/v1/sales?') ? { sales: [], next_cursor: String(pages) } : undefined;
    }).catch((cause: Error) => cause.message);
    expect(endless).toContain('a page of sales is empty and not the last');
  });

  it('names a sale that is said to be elsewhere in the log, or under another salt', async () => {
    for (const change of [{ index: 0 }, { salt: '00'.repeat(16) }]) {
      const { code, out } = await auditLie(
        onSales((sales) =>
          sales.map((sale) =>
            isSeq(5)(sale) && sale.log ? { ...sale, log: { ...sale.log, ...change } } : sale,
          ),
        ),
      );
      expect([code, out]).toEqual([1, expect.stringMatching(/number 5: wrong/)]);
    }
    const hidden = await auditLie(
      onSales((sales) => sales.map((sale) => (isSeq(5)(sale) ? { ...sale, log: null } : sale))),
    );
    expect(hidden).toMatchObject({ code: 1, out: expect.stringMatching(/number 5: it is in the log/) });
  });

  it('refuses a log whose entries are not the signed ones, or whose checkpoint is another key’s', async () => {
    const rewritten = await auditLie((path, body) => {
      if (!path.includes('/tile/entries/000')) return undefined;
      const changed = Buffer.from(body);
      const at = body.indexOf('commit ') + 'commit '.length;
      changed.write(body.toString('ascii', at, at + 1) === 'f' ? '0' : 'f', at);
      return changed;
    });
    expect(rewritten).toMatchObject({ code: 1, out: expect.stringMatching(/do not give the root/) });
    const short = await auditLie((path, body) =>
      path.includes('/tile/entries/001') ? body.subarray(0, 100) : undefined,
    );
    expect(short).toMatchObject({ code: 1, out: expect.stringMatching(/does not hold \d+ entries/) });
    const forged = await auditLie((path, body) =>
      path === '/log/receipts/checkpoint'
        ? Buffer.from(body.toString().replace(/\n\d+\n/, '\n9\n'))
        : undefined,
    );
    expect(forged).toMatchObject({ code: 1, out: expect.stringMatching(/signature .* is wrong/i) });
  });

  it('proves a sale that gateway, log and books all hide, by the receipt of its buyer', async () => {
    const { gateway } = surface;
    const before = {
      note: Buffer.from(await (await gateway.fetch('/log/receipts/checkpoint')).arrayBuffer()),
      summary: await readJson<object>(
        await gateway.fetch('/v1/sales/summary', { headers: bearer(server.key) }),
      ),
    };
    const id = await sell();
    const file = join(folder, 'receipt.json');
    writeFileSync(file, await (await gateway.fetch(`/receipts/${id}`)).text());
    await waitUntilLogged(id);
    // All that the gateway says of itself is as it was before the sale.
    const hides: Lie = (path, body) => {
      if (path === '/log/receipts/checkpoint') return before.note;
      if (path.startsWith('/v1/sales/summary')) return before.summary;
      return onSales((sales) => sales.filter(({ receipt }) => receipt.jti !== id))(path, body);
    };
    expect((await auditLie(hides)).code).toBe(0);
    const proven = await auditLie(hides, { receipt: [file] });
    expect(proven).toMatchObject({
      code: 1,
      out: expect.stringMatching(new RegExp(`left out, the buyer's receipt ${id}`)),
    });
    // With the truth the same receipt is among the sales, and without a checkpoint over it the sale is pending.
    expect(await audit({ receipt: [file] })).toMatchObject({ code: 0 });
    const early = await auditLie((path) => (path === '/log/receipts/checkpoint' ? before.note : undefined), {
      receipt: [file],
    });
    expect(early).toMatchObject({ code: 0, out: expect.stringContaining('1 pending') });
    const longAgo: Lie = (path, body) => {
      if (path === '/log/receipts/checkpoint') return before.note;
      const old = (sale: Listed) => ({
        ...sale,
        receipt: { ...sale.receipt, iat: sale.receipt.iat - 7_200 },
      });
      return onSales((sales) => sales.map((sale) => (sale.receipt.jti === id ? old(sale) : sale)))(
        path,
        body,
      );
    };
    expect(await auditLie(longAgo)).toMatchObject({
      ...{ code: 1, out: expect.stringContaining('it is in no log an hour after it was sold') },
    });
    const changed = await auditLie(
      onSales((sales) =>
        sales.map((sale) =>
          sale.receipt.jti === id ? { ...sale, receipt: { ...sale.receipt, price_mcents: '40' } } : sale,
        ),
      ),
      { receipt: [file] },
    );
    expect(changed).toMatchObject({
      code: 1,
      out: expect.stringMatching(/the buyer's receipt in .* says price 50, the list says 40/),
    });
  });

  it('tells a receipt of nobody’s key, and one of a server that is not the publisher’s', async () => {
    const id = await sell();
    const text = await (await surface.gateway.fetch(`/receipts/${id}`)).text();
    const file = join(folder, 'forged.json');
    const { jws } = JSON.parse(text) as { jws: string };
    writeFileSync(file, JSON.stringify({ jws: `${jws.slice(0, -4)}AAAA` }));
    expect(await audit({ receipt: [file] })).toMatchObject({
      code: 1,
      out: expect.stringMatching(/does not hold under the keys/),
    });
    writeFileSync(file, jws);
    expect(await audit({ key: other.key, receipt: [file] })).toMatchObject({
      code: 1,
      out: expect.stringMatching(/not among the publisher's servers/),
    });
    await expect(audit({ receipt: [join(folder, 'missing')] })).rejects.toThrow(/ENOENT/);
  });

  it('agrees while gateways sell, log and sign', async () => {
    let isOver = false;
    const call = jsonBody({ tool: 'random', arguments: {} }, bearer(buyer));
    const selling = times(10, async (at) => {
      const gateway = at % 2 === 0 ? surface.gateway : another;
      while (!isOver) await (await gateway.fetch(server.call, call)).arrayBuffer();
    });
    for (let round = 0; round < 4; round++) {
      const { code, out } = await audit();
      expect([code, out]).toEqual([0, expect.not.stringContaining('FAULT')]);
    }
    isOver = true;
    await Promise.all(selling);
  });
});

describe('the log of one lane', () => {
  const entry = (seq: number) => encodeCommitment({ tool: 'a/b', lane: 'x', seq, commit: 'ab'.repeat(32) });

  it('is told of a gap, a duplicate and what is no commitment', () => {
    const faults: string[] = [];
    const watch = watchLog(createLanes(), new Set(['a/b']), (fault) => faults.push(fault));
    for (const [index, seq] of [1, 2, 5, 2, 6].entries()) watch(index, entry(seq));
    watch(5, Buffer.from('nonsense'));
    expect(faults).toEqual([
      'a/b lane x: gap, the log lacks numbers 3 to 4.',
      'a/b lane x: duplicate, the log holds number 2 again at leaf 3.',
      'The receipts log holds something at 5 that is no commitment.',
    ]);
  });
});

describe('what a publisher is shown of its sales', () => {
  it('is its own alone: another’s server is not found, and a key without the scope is refused', async () => {
    const { gateway } = surface;
    const get = (path: string, key?: string) => gateway.fetch(path, key ? { headers: bearer(key) } : {});
    for (const id of [server.name, server.id, 'nobody/nothing']) {
      const query = `tool=${encodeURIComponent(id)}`;
      await expectProblem(await get(`/v1/sales?${query}`, other.key), 404, 'not-found');
      await expectProblem(await get(`/v1/sales/summary?${query}`, other.key), 404, 'not-found');
    }
    for (const path of [`/v1/sales?tool=${server.id}`, '/v1/sales/summary']) {
      await expectProblem(await get(path, buyer), 403, 'forbidden');
      await expectProblem(await get(path), 401, 'unauthorized');
    }
    const own = await readJson<Summary>(await get('/v1/sales/summary', other.key));
    expect(own.tools.map(({ name }) => name)).toEqual([other.name]);
    expect(own.tools[0]).toMatchObject({ count: 0, gross_mcents: 0, lanes: [] });
  });

  it('is summed up once at a time for each publisher', async () => {
    const { gateway } = surface;
    const ask = (key: string) => gateway.fetch('/v1/sales/summary', { headers: bearer(key) });
    const answers = await Promise.all([...times(20, () => ask(server.key)), ask(other.key)]);
    expect(answers.at(-1)?.status).toBe(200);
    const statuses = countByStatus(answers.slice(0, -1));
    expect(Object.keys(statuses)).toEqual(['200', '429']);
    expect((await ask(server.key)).status).toBe(200);
    // What was refused or broken off keeps no place.
    await expectProblem(
      await gateway.fetch('/v1/sales/summary?tool=nobody', { headers: bearer(server.key) }),
      404,
      'not-found',
    );
    expect((await ask(server.key)).status).toBe(200);
  });

  it('comes in pages that end, and a query that is wrong is told', async () => {
    const { gateway } = surface;
    const headers = bearer(server.key);
    const seqs: string[] = [];
    let after = '';
    for (let at = 0; at < 10; at++) {
      const path = `/v1/sales?tool=${server.id}&limit=100${after}`;
      const page = await readJson<Page>(await gateway.fetch(path, { headers }));
      seqs.push(...page.sales.map(({ receipt }) => `${receipt.lane} ${receipt.seq}`));
      if (page.next_cursor === undefined) break;
      after = `&after=${page.next_cursor}`;
    }
    expect(new Set(seqs).size).toBe(seqs.length);
    expect(seqs.length).toBeGreaterThanOrEqual(SALES);
    const positions = ['["a","-1"]', '["a"]', '{}', JSON.stringify(['a\0', '1'])];
    const cursors = ['x', ...positions.map((text) => Buffer.from(text).toString('base64url'))];
    for (const wrong of [
      '',
      'tool=',
      `tool=${server.id}&limit=0`,
      `tool=${server.id}&limit=501`,
      `tool=${server.id}&x=1`,
    ]) {
      await expectProblem(await gateway.fetch(`/v1/sales?${wrong}`, { headers }), 400, 'malformed-request');
    }
    for (const cursor of cursors) {
      const path = `/v1/sales?tool=${server.id}&after=${cursor}`;
      await expectProblem(await gateway.fetch(path, { headers }), 400, 'malformed-request');
    }
  });
});
