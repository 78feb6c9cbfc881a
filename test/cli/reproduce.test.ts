import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLayers } from '../../src/catalog/index.ts';
import { reproduceCommand } from '../../src/cli/reproduce.ts';
import { readArchive, writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { silentLog } from '../../src/core/log.ts';
import { jsonBody, publishEcho, readAnswer } from '../e2e/fixtures.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';

/** What an installer would have put there: no index of packages is asked here. */
const LAYER = writeArchive(new Map([['python/greeting.py', Buffer.from('WORDS = "good day"\n')]]), {
  longPaths: 'pax',
});
const LEANING = `import json, sys
from greeting import WORDS
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    elif message["method"] == "tools/list":
        result = {"tools": [{"name": "greet", "inputSchema": {"type": "object"}}]}
    else:
        result = {"content": [{"type": "text", "text": WORDS}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
`;

/** What the gateway is made to answer at a path, in place of the truth. */
const lies = new Map<string, () => Response>();
const folder = mkdtempSync(join(tmpdir(), 'millicent-reproduce-'));

let anvil: Anvil;
let database: TestDatabase;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase()]);
  gateway = await startTestGateway({
    ...{ database, anvil },
    change({ http }) {
      const layers = createLayers(http);
      http.builder = {
        async build() {
          const { sha256, bytes } = await layers.keep({ recipeHash: sha256Hex(LAYER), archive: LAYER });
          return { kind: 'built', layerSha256: sha256, bytes, log: '' };
        },
      };
    },
    around: (request, answer) => lies.get(new URL(request.url).pathname)?.() ?? answer(),
  });
  key = await gateway.mint(100_000);
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
  await anvil?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs the command as an auditor does. */
async function spawnReproduce(receipt: string, input: string) {
  const main = join(import.meta.dirname, '../../src/cli/millicent.mjs');
  const child = spawn(main, ['reproduce', receipt, '--input', input, '--url', gateway.url]);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  child.stdin.end();
  const [code] = await once(child, 'close');
  return { code, out, err };
}

/** The same in this process, which starts nothing anew: what is thrown is misuse, as `main` tells it. */
async function reproduce(receipt: string, input: string, vkey: string[] = []) {
  const told = { out: '', err: '' };
  const code = await reproduceCommand
    .run({
      ...{ values: { input, vkey }, positionals: [receipt], url: gateway.url },
      print: (text) => {
        told.out += `${text}\n`;
      },
      complain: (text) => {
        told.err += `${text}\n`;
      },
      readFirstLine: async () => '',
      signal: new AbortController().signal,
    })
    .catch((cause: unknown) => {
      told.err += cause instanceof Error ? cause.message : 'something else than an Error';
      return 2;
    });
  return { code, ...told };
}

let files = 0;
function writeInput(content: unknown): string {
  files += 1;
  const path = join(folder, `${files}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

/** A paid call, the file with what was sent, and its receipt once its leaf can be proven. */
async function buy(call: string, body: object, headers: Record<string, string> = {}) {
  const request = jsonBody(body, { authorization: `Bearer ${key}`, prefer: 'receipt', ...headers });
  const answer = await readAnswer(await gateway.fetch(call, request));
  expect(answer).toMatchObject({ ok: true, receipt_id: expect.any(String) });
  await gateway.deps.http.logs.versions.sign();
  return { id: answer.receipt_id, input: writeInput(body), answer };
}

const publishOpen = (change: Record<string, unknown> = {}) =>
  publishEcho(gateway, { deterministic: true, ...change });
const HELLO = { tool: 'echo', arguments: { text: 'grüße' } };

test('a paid call is run again from the logged code, and the result is the same', async () => {
  const server = await publishOpen();
  const { id, input } = await buy(server.call, HELLO);
  const { code, out, err } = await spawnReproduce(id, input);
  expect({ code, err }, out).toEqual({ code: 0, err: '' });
  expect(out).toContain('THE SAME');
  expect(out).toContain('the same as when it was published');
  expect(out).toContain(`${server.name} 1.0.0`);
});

test('a receipt out of a file is as good, and so is what the call itself answered', async () => {
  const server = await publishOpen();
  const { id, input, answer } = await buy(server.call, HELLO);
  const issued = await (await gateway.fetch(`/receipts/${id}`)).json();
  for (const file of [writeInput(issued), writeInput(answer)]) {
    expect(await reproduce(file, input)).toMatchObject({ code: 0, err: '' });
  }
});

test('a version that was pinned and a network that was allowed by a header are found in the hash', async () => {
  const server = await publishOpen();
  const pinned = await buy(server.call, { ...HELLO, version: '1.0.0' }, { 'allow-network': 'true' });
  expect(await reproduce(pinned.id, pinned.input)).toMatchObject({ code: 0 });
});

test('a tool that broke its promise is found out, with both hashes', async () => {
  const server = await publishOpen();
  const { id, input, answer } = await buy(server.call, { tool: 'random' });
  const { code, out } = await reproduce(id, input);
  expect(code, out).toBe(1);
  expect(out).toContain('DIFFERENT');
  const { payload } = (await gateway.deps.http.receipts.getReceipt(answer.receipt_id)) ?? {};
  expect(out).toContain(payload?.res);
  expect(out.match(/sha256:[0-9a-f]{64}/g)?.length).toBeGreaterThanOrEqual(4);
});

test('a run that this machine ended says nothing of the receipt', async () => {
  // What it does in the sandbox is decided by the clock, as a slower machine's would be.
  const slowFrom = Date.now() + 12_000;
  const code = LEANING.replace('from greeting import WORDS', 'import time\nWORDS = "good day"').replace(
    '        result = {"content"',
    `        time.sleep(60 if time.time() * 1000 > ${slowFrom} else 0)\n        result = {"content"`,
  );
  const server = await publishOpen({
    ...{ files: { 'server.py': code }, limits: { timeout_ms: 1_000 } },
    pricing: { model: 'per_call', amount_mcents: 100 },
  });
  const { id, input } = await buy(server.call, { tool: 'greet' });
  await expect.poll(() => Date.now() > slowFrom, { timeout: 20_000 }).toBe(true);
  const { code: exit, out, err } = await reproduce(id, input);
  expect([exit, out]).toEqual([2, expect.not.stringContaining('DIFFERENT')]);
  expect(err).toContain('nothing follows from this run');
});

test('code that is not declared deterministic is not run again, and the reason is a sentence', async () => {
  const server = await publishEcho(gateway);
  const { id, input } = await buy(server.call, HELLO);
  const { code, out, err } = await reproduce(id, input);
  expect(code, out).toBe(2);
  expect(err).toContain('is not declared deterministic');
});

test('an input that was not what was paid for is refused before anything runs', async () => {
  const server = await publishOpen();
  const { id } = await buy(server.call, HELLO);
  for (const other of [
    { tool: 'echo', arguments: { text: 'other' } },
    { tool: 'random' },
    { tool: 'echo', arguments: { text: 'grüße', more: 1 } },
  ]) {
    const { code, err } = await reproduce(id, writeInput(other));
    expect(code, err).toBe(2);
    expect(err).toContain('is not the request that was paid for');
  }
});

test('what cannot be read is misuse: a missing file, no JSON, another shape, no receipt, no input', async () => {
  const server = await publishOpen();
  const { id, input } = await buy(server.call, HELLO);
  const wrong: [string, string][] = [
    [id, join(folder, 'nowhere.json')],
    [id, writeInput('{')],
    [id, writeInput([1])],
    [id, writeInput({ arguments: {} })],
    [join(folder, 'nowhere.json'), input],
    [writeInput({ ok: true }), input],
    [writeInput('nonsense'), input],
    ['00000000-0000-4000-8000-000000000000', input],
  ];
  for (const [receipt, file] of wrong) {
    const { code, err } = await reproduce(receipt, file);
    expect(code, err).toBe(2);
    expect(err).toMatch(/\S/);
    expect(err).not.toContain('    at ');
  }
  const { code, err } = await spawnReproduce(id, join(folder, 'nowhere.json'));
  expect({ code, err }).toEqual({ code: 2, err: expect.stringMatching(/^millicent: .*cannot be read/) });
});

test('a receipt that the gateway did not sign proves nothing', async () => {
  const server = await publishOpen();
  const { id, input } = await buy(server.call, HELLO);
  const { jws } = (await (await gateway.fetch(`/receipts/${id}`)).json()) as { jws: string };
  const [head, body = '', signature] = jws.split('.');
  const payload = JSON.parse(Buffer.from(body, 'base64url').toString());
  const other = Buffer.from(JSON.stringify({ ...payload, res: payload.req })).toString('base64url');
  const { code, err } = await reproduce(writeInput({ jws: [head, other, signature].join('.') }), input);
  expect(code, err).toBe(1);
  expect(err).toContain('The receipt does not hold');
});

test('a gateway that hands out other code, another manifest or another leaf is found out, and nothing runs', async () => {
  const server = await publishOpen();
  const { id, input } = await buy(server.call, HELLO);
  const another = await publishOpen({ version: '1.0.0' });
  await buy(another.call, HELLO);
  const versions = (of: typeof server) => `/mcp/${encodeURIComponent(of.name)}/versions/1.0.0`;
  const take = async (path: string) => Buffer.from(await (await gateway.fetch(path)).arrayBuffer());
  const otherIndex = (await (await gateway.fetch(`/mcp/${another.id}`)).json()) as { log_index: number };
  const { log_index: index } = (await (await gateway.fetch(`/mcp/${server.id}`)).json()) as {
    log_index: number;
  };
  const otherCode = writeArchive(new Map([['server.py', Buffer.from('print(1)')]]));
  const told = JSON.parse((await take(`${versions(server)}/manifest`)).toString());
  const lied: [string, Buffer, string][] = [
    [`${versions(server)}/code`, otherCode, 'answered bytes of'],
    [`${versions(server)}/manifest`, await take(`${versions(another)}/manifest`), 'the log'],
    [`${versions(server)}/manifest`, Buffer.from(JSON.stringify({ ...told, v: 2 })), 'is not one'],
    [`/log/bundle/${index}`, await take(`/log/bundle/${otherIndex.log_index}`), 'The log does not show it'],
    [`/log/bundle/${index}`, Buffer.from('{}'), 'The log does not show it'],
  ];
  for (const [path, answer, said] of lied) {
    const answerWith = () => new Response(new Uint8Array(answer));
    lies.set(path, answerWith).set(decodeURIComponent(path), answerWith);
    const { code, out, err } = await reproduce(id, input);
    lies.clear();
    expect(code, `${path}: ${out}${err}`).toBe(1);
    expect(err).toContain(said);
    expect(out).not.toContain('Root');
  }
  expect(await reproduce(id, input)).toMatchObject({ code: 0 });
});

test('a key of the log from elsewhere has to be the one that signed', async () => {
  const server = await publishOpen();
  const { id, input } = await buy(server.call, HELLO);
  const vkey = (await (await gateway.fetch('/log/vkey')).text()).split('\n')[0] ?? '';
  expect(await reproduce(id, input, [vkey])).toMatchObject({ code: 0 });
  const receipts = (await (await gateway.fetch('/log/receipts/vkey')).text()).split('\n')[0] ?? '';
  expect(await reproduce(id, input, [receipts])).toMatchObject({ code: 1 });
});

test('dependencies are fetched by their hash and run with, the layer that the manifest names', async () => {
  const server = await publishOpen({
    pricing: { model: 'per_call', amount_mcents: 10 },
    files: { 'server.py': LEANING, 'requirements.txt': 'greeting==1.0' },
  });
  const { id, input } = await buy(server.call, { tool: 'greet' });
  const { code, out, err } = await reproduce(id, input);
  expect({ code, err }, out).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/dependencies sha256:[0-9a-f]{64}/);
  const layer = await gateway.fetch(`/mcp/${server.id}/versions/1.0.0/layer`);
  const bytes = Buffer.from(await layer.arrayBuffer());
  expect(layer.headers.get('content-length')).toBe(String(bytes.length));
  const listing = (await (await gateway.fetch(`/mcp/${server.id}`)).json()) as { layer_hash: string };
  expect(`sha256:${sha256Hex(bytes)}`).toBe(listing.layer_hash);
  expect([...readArchive(bytes, { longPaths: 'pax' }).keys()]).toEqual(['python/greeting.py']);
});
