import { createServer, request, ServerResponse } from 'node:http';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { directWay } from '../../src/http/index.ts';
import { spellExample } from '../../src/http/routes/example.ts';
import { newKeyText } from '../../src/keys/index.ts';
import { replyBy } from '../../src/traffic/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw } from '../harness/raw-client.ts';

/** The same gateway by its direct way, and with every request sent the general way. */
let direct: TestGateway;
let general: TestGateway;
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 4 });
  direct = await startTestGateway({ database });
  // Whatever is around every request keeps all of them off the direct way.
  general = await startTestGateway({ database, around: (_request, answer) => answer() });
});
afterAll(async () => {
  await Promise.all([direct?.close(), general?.close()]);
  await database?.close();
});

type Told = { status: number; headers: Record<string, unknown>; body: Record<string, unknown> };

/** Over a bare socket, so that no header comes along that was not asked for. */
function call(
  gateway: { url: string },
  headers: [string, string][],
  method = 'GET',
  path = '/v1/example',
): Promise<Told> {
  const { hostname, port, host } = new URL(gateway.url);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path, setHost: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const { date, ...rest } = response.headers;
        resolve({ status: response.statusCode ?? 0, headers: rest, body: text ? JSON.parse(text) : {} });
      });
    });
    const all = [['Host', host] as [string, string], ...headers];
    for (const name of new Set(all.map(([each]) => each))) {
      const values = all.filter(([each]) => each === name).map(([, value]) => value);
      sent.setHeader(name, values.length === 1 ? (values[0] ?? '') : values);
    }
    sent.on('error', reject).end(method === 'POST' ? '{}' : undefined);
  });
}

const bearer = (key: string): [string, string] => ['Authorization', `Bearer ${key}`];
const REQUEST_ID: [string, string] = ['X-Request-Id', 'named-by-the-caller'];

/** Both answers without what differs between any two calls. */
async function compare(headers: [string, string][]): Promise<{ ours: Told; theirs: Told }> {
  const [ours, theirs] = [await call(direct, headers), await call(general, headers)];
  const strip = ({ status, headers: got, body }: Told): Told => {
    const { 'content-length': _length, ...kept } = got;
    const { receipt_id: _id, balance_mcents: _balance, ...members } = body;
    return { status, headers: kept, body: members };
  };
  return { ours: strip(ours), theirs: strip(theirs) };
}

describe('a plain call by key answered before the router', () => {
  test('is answered like one that goes through it, header by header', async () => {
    const key = await direct.mint(10_000);
    const { ours, theirs } = await compare([bearer(key), REQUEST_ID]);
    expect(ours).toEqual(theirs);
    expect(ours.status).toBe(200);
    expect(ours.headers['x-request-id']).toBe('named-by-the-caller');
  });

  test('is charged once, with a receipt, like any other', async () => {
    const key = await direct.mint(1_000);
    const [first, second] = [await call(direct, [bearer(key)]), await call(general, [bearer(key)])];
    expect([first.body.balance_mcents, second.body.balance_mcents]).toEqual([900, 800]);
    for (const { body } of [first, second]) {
      const receipt = await direct.fetch(`/receipts/${body.receipt_id}`);
      expect(receipt.status).toBe(200);
    }
    expect(first.headers['content-length']).toBe(String(Buffer.byteLength(JSON.stringify(first.body))));
  });

  test('is refused alike when the key is unknown, has no such scope, or is empty', async () => {
    const wrong = await compare([bearer(newKeyText()), REQUEST_ID]);
    expect(wrong.ours).toEqual(wrong.theirs);
    expect(wrong.ours.status).toBe(401);
    const denied = await compare([bearer(await direct.mint(1_000, ['read'])), REQUEST_ID]);
    expect(denied.ours).toEqual(denied.theirs);
    expect(denied.ours.status).toBe(403);
    const empty = await compare([bearer(await direct.mint(50)), REQUEST_ID]);
    expect(empty.ours).toEqual(empty.theirs);
    expect([501, 402]).toContain(empty.ours.status);
  });

  test('holds no key for good: a revoked one is refused at its next call', async () => {
    const key = await direct.mint(1_000);
    expect((await call(direct, [bearer(key)])).status).toBe(200);
    const headers = { authorization: `Bearer ${key}` };
    const listed = (await (await direct.fetch('/v1/keys', { headers })).json()) as { keys: { id: string }[] };
    const path = `/v1/keys/${listed.keys[0]?.id}/revoke`;
    // By the other gateway, so that this one still remembers the key: the charge itself has to refuse.
    expect((await general.fetch(path, { method: 'POST', headers })).ok).toBe(true);
    const after = await call(direct, [bearer(key)]);
    expect([after.status, after.body.balance_mcents]).toEqual([401, undefined]);
  });

  test('forty at once on a balance for ten make exactly ten', async () => {
    const key = await direct.mint(1_000);
    const answers = await Promise.all(Array.from({ length: 40 }, () => call(direct, [bearer(key)])));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
  });
});

describe('the head that answers of a second share', () => {
  const raw = (key: string) => `GET /v1/example HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\n\r\n`;

  test('is not taken from the answer of a caller who left before it', async () => {
    const key = await direct.mint(100_000);
    for (let round = 0; round < 30; round++) {
      const gone = await connectRaw(direct.url);
      gone.send(raw(key));
      // At different points of the call.
      await new Promise((done) => setTimeout(done, round % 6));
      gone.socket.destroy();
      const { headers } = await call(direct, [bearer(key), ['Connection', 'keep-alive']]);
      expect([headers.connection, headers['keep-alive']]).toEqual(['keep-alive', 'timeout=65']);
    }
  });

  test('stays in use beside callers whose answers need one of their own', async () => {
    const key = await direct.mint(100_000);
    const given = ServerResponse.prototype.writeHead;
    let spelled = 0;
    ServerResponse.prototype.writeHead = function (this: ServerResponse, ...values: unknown[]) {
      spelled += 1;
      return Reflect.apply(given, this, values);
    } as typeof given;
    const started = performance.now();
    try {
      const [pipelining, other] = [await connectRaw(direct.url), await connectRaw(direct.url)];
      for (let round = 1; round <= 40; round++) {
        pipelining.send(raw(key) + raw(key));
        await waitUntil(() => pipelining.text().split('HTTP/1.1 200').length > 2 * round || undefined);
        other.send(raw(key));
        await waitUntil(() => other.text().split('HTTP/1.1 200').length > round || undefined);
      }
    } finally {
      ServerResponse.prototype.writeHead = given;
    }
    const seconds = Math.ceil((performance.now() - started) / 1_000) + 1;
    expect(spelled).toBeLessThanOrEqual(80 + seconds);
  });
});

describe('what is the least unusual goes the general way', () => {
  test('only a bare GET with nothing but a key of the one spelling is taken', async () => {
    const taken: boolean[] = [];
    const way = directWay(direct.deps.http);
    const server = createServer((incoming, outgoing) => {
      const isTaken = way(replyBy(incoming, outgoing));
      taken.push(isTaken);
      if (!isTaken) outgoing.end('{}');
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = server.address();
    const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
    const key = await direct.mint(10_000);
    const send = (headers: [string, string][], method?: string, path?: string) =>
      call({ url }, headers, method, path);
    await send([bearer(key), ['User-Agent', 'one'], ['Accept', '*/*'], REQUEST_ID]);
    for (const name of [
      'Idempotency-Key',
      'Prefer',
      'X-Payment',
      'Payment-Signature',
      'X-Api-Key',
      'Origin',
    ]) {
      await send([bearer(key), [name, 'some']]);
    }
    await send([bearer(key), ['Content-Length', '2']], 'POST');
    await send([bearer(key)], 'GET', '/v1/example?name=one');
    await send([bearer(key), bearer(key)]);
    await send([['Authorization', `bearer ${key}`]]);
    await send([['Authorization', `L402 ${key}`]]);
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
    expect(taken).toEqual([true, ...Array.from({ length: 11 }, () => false)]);
  });

  test('an Idempotency-Key is heeded', async () => {
    const key = await direct.mint(1_000);
    const headers: [string, string][] = [bearer(key), ['Idempotency-Key', 'once']];
    const [first, second] = [await call(direct, headers), await call(direct, headers)];
    expect(second.body.receipt_id).toBe(first.body.receipt_id);
    expect(second.body.balance_mcents).toBe(900);
  });

  test('Prefer: receipt gets the receipt inline', async () => {
    const key = await direct.mint(1_000);
    const { body } = await call(direct, [bearer(key), ['Prefer', 'receipt']]);
    expect(body.receipt).toMatch(/^ey/);
  });

  test('two keys in one request are refused as before, and neither is charged', async () => {
    const [one, two] = [await direct.mint(1_000), await direct.mint(1_000)];
    const { ours, theirs } = await compare([bearer(one), bearer(two), REQUEST_ID]);
    expect(ours).toEqual(theirs);
    for (const key of [one, two]) {
      const balance = await direct.fetch('/v1/balance', { headers: { authorization: `Bearer ${key}` } });
      expect(await balance.json()).toMatchObject({ balance_mcents: 1_000 });
    }
  });

  test('a key in capitals, in another scheme or beside X-Api-Key is judged as before', async () => {
    const key = await direct.mint(10_000);
    const odd: [string, string][][] = [
      [['Authorization', `bearer ${key}`]],
      [['Authorization', `Bearer  ${key}`]],
      [['Authorization', key]],
      [['Authorization', `Bearer ${key.toUpperCase()}`]],
      [['X-Api-Key', key]],
      [bearer(key), ['X-Api-Key', newKeyText()]],
    ];
    for (const headers of odd) {
      const { ours, theirs } = await compare([...headers, REQUEST_ID]);
      expect(ours, JSON.stringify(headers)).toEqual(theirs);
    }
  });

  test('HEAD is refused and costs nothing', async () => {
    const key = await direct.mint(1_000);
    expect((await call(direct, [bearer(key)], 'HEAD')).status).toBe(405);
    expect((await call(direct, [bearer(key)])).body.balance_mcents).toBe(900);
  });
});

test('the answer is the JSON that JSON.stringify makes of the same members, and has a byte for each character', () => {
  const optional = fc.option(fc.string({ unit: 'grapheme-ascii' }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.bigInt(0n, 10n ** 12n),
      ...[optional, optional, fc.option(fc.bigInt(0n, 10n ** 12n), { nil: undefined })],
      (message, charged, receiptId, receipt, balance) => {
        const result = { structuredContent: { message } };
        const answer = { result, charged, receiptId, receipt, balance, claim: undefined };
        const members = {
          ...{ ok: true, message, charged_mcents: Number(charged), receipt_id: receiptId, receipt },
          balance_mcents: balance === undefined ? undefined : Number(balance),
        };
        const spelled = spellExample(answer);
        expect(Buffer.byteLength(spelled)).toBe(spelled.length);
        expect(JSON.stringify(JSON.parse(spelled))).toBe(JSON.stringify(members));
      },
    ),
  );
});
