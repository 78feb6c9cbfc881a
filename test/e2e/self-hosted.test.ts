import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Agent, createAgent, jsonBody, readBooks } from './fixtures.ts';
import {
  type Listed,
  listOwn,
  type OwnServer,
  ownSubmission,
  startSecond,
  startSessions,
  startStateless,
} from './own-servers.ts';
import {
  balanceOf,
  bearer,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

const PRICE = 200;
const FEE = 10;
const PRICING = { model: 'per_call', amount_mcents: PRICE, tools: { gratis: 0 } };
const INFO = { name: 'tests', version: '1' };
const KINDS: [kind: string, start: () => Promise<OwnServer>][] = [
  ['the first SDK with sessions', startSessions],
  ['the first SDK without sessions', startStateless],
  ['the second SDK for both eras', startSecond],
  ['the second SDK for its own era alone', () => startSecond({ legacy: 'reject' })],
];

let surface: Surface;
let agent: Agent;

beforeAll(async () => {
  surface = await startSurface({ SANDBOX: 'none', REMOTE_ALLOW_LOOPBACK: 'yes' });
  agent = await createAgent(surface.anvil);
});
afterAll(() => surface.close());

async function connectV1(path: string, headers: Record<string, string>): Promise<ClientV1> {
  const client = new ClientV1(INFO, { capabilities: { sampling: {}, elicitation: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, async () => THOUGHT);
  client.setRequestHandler(ElicitRequestSchema, async () => FILLED);
  await client.connect(new TransportV1(new URL(surface.gateway.url + path), { requestInit: { headers } }));
  return client;
}

async function connectV2(path: string, headers: Record<string, string>): Promise<ClientV2> {
  const versionNegotiation = { mode: { pin: '2026-07-28' } };
  const client = new ClientV2(INFO, { versionNegotiation, capabilities: { sampling: {}, elicitation: {} } });
  client.setRequestHandler('sampling/createMessage', async () => THOUGHT);
  client.setRequestHandler('elicitation/create', async () => FILLED);
  await client.connect(new TransportV2(new URL(surface.gateway.url + path), { requestInit: { headers } }));
  return client;
}

const THOUGHT = {
  ...{ role: 'assistant' as const, model: 'none' },
  content: { type: 'text' as const, text: 'I am a model' },
};
const FILLED = { action: 'accept' as const, content: { name: 'Ada' } };

/** What the platform earned, and what all publishers have, by the journal. */
async function readEarnings(): Promise<{ fees: number; publishers: number }> {
  const { accounts } = await readBooks(surface.gateway);
  const sum = (isMeant: (name: string) => boolean) =>
    accounts.filter(({ name }) => isMeant(name)).reduce((total, { balance }) => total + Number(balance), 0);
  return { fees: sum((name) => name === 'I.fee'), publishers: sum((name) => name.startsWith('L.pub:')) };
}

/** What the token of the last request with this method says. */
function claimsOf(own: OwnServer, rpc: string): Record<string, unknown> {
  const asked = own.asked.findLast((one) => one.rpc === rpc);
  const [, claims = ''] = String(asked?.headers.authorization).split('.');
  return JSON.parse(Buffer.from(claims, 'base64url').toString());
}

describe.each(KINDS)("a publisher's own server, made with %s,", (kind, start) => {
  let own: OwnServer;
  let server: Listed;
  let key: string;
  const isSecond = kind.includes('second');
  beforeAll(async () => {
    own = await start();
    // A server that asks its client and cannot hear the answer waits until its time is over.
    const change = { pricing: PRICING, limits: { timeout_ms: 1_500 } };
    server = await listOwn(surface.gateway, own, { change });
    key = await surface.gateway.mint(100_000);
  });
  afterAll(() => own.close());
  const invoke = (tool: string, args: object, headers: Record<string, string> = {}) =>
    surface.gateway.fetch(server.call, jsonBody({ tool, arguments: args }, headers));

  test('is called by a key, by a payment and for nothing, and its publisher keeps 95 %', async () => {
    const before = await readEarnings();
    const unpaid = await invoke('greet', { name: 'Ada' });
    await expectProblem(unpaid, 402, 'payment-required');
    const byKey = await readBody(await invoke('greet', { name: 'Ada' }, bearer(key)));
    expect(byKey).toMatchObject({
      ...{ ok: true, charged_mcents: PRICE, balance_mcents: 100_000 - PRICE },
      result: { structuredContent: { greeting: 'Hello Ada' } },
    });
    expect(claimsOf(own, 'tools/call')).toMatchObject({ aud: server.id, tier: 'key' });
    const request = jsonBody({ tool: 'greet', arguments: { name: 'Bob' } });
    const byPayment = await readBody(await agent.fetch(surface.gateway.url + server.call, request));
    expect(byPayment).toMatchObject({
      ok: true,
      charged_mcents: PRICE,
      receipt: expect.stringMatching(/\./),
    });
    expect(claimsOf(own, 'tools/call')).toMatchObject({ aud: server.id, tier: 'credential' });
    expect(await readBody(await invoke('gratis', {}))).toMatchObject({ ok: true, charged_mcents: 0 });
    expect(claimsOf(own, 'tools/call')).toMatchObject({ aud: server.id, tier: 'free' });
    const after = await readEarnings();
    expect([after.fees - before.fees, after.publishers - before.publishers]).toEqual([
      2 * FEE,
      2 * (PRICE - FEE),
    ]);
  });

  test.each([
    ['first', connectV1],
    ['second', connectV2],
  ] as const)(
    'serves a client of the %s SDK over MCP: tools, resources, prompts, progress',
    async (_, connect) => {
      const client = await connect(server.path, bearer(key));
      expect(client.getServerVersion()).toMatchObject({ name: 'own', version: '1.2.3' });
      expect(client.getInstructions()).toBe('Greet.');
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name).sort()).toEqual(['form', 'gratis', 'greet', 'think', 'work']);
      const before = await balanceOf(surface.gateway, key);
      expect(await client.callTool({ name: 'greet', arguments: { name: 'Eve' } })).toMatchObject({
        structuredContent: { greeting: 'Hello Eve' },
        _meta: { 'millicent/charged-mcents': PRICE },
      });
      expect(await balanceOf(surface.gateway, key)).toBe(before - PRICE);
      expect((await client.listResources()).resources).toMatchObject([{ uri: 'own://note' }]);
      expect(await client.readResource({ uri: 'own://note' })).toMatchObject({
        contents: [{ text: 'noted' }],
      });
      expect((await client.listPrompts()).prompts).toMatchObject([{ name: 'welcome' }]);
      const prompt = await client.getPrompt({ name: 'welcome', arguments: { name: 'Eve' } });
      expect(prompt.messages).toMatchObject([{ content: { text: 'Welcome Eve' } }]);
      const seen: number[] = [];
      const options = { onprogress: ({ progress }: { progress: number }) => seen.push(progress) };
      // The two SDKs differ in where the options stand.
      const work = { name: 'work' };
      if (client instanceof ClientV1) await client.callTool(work, undefined, options);
      else await client.callTool(work, options);
      expect(seen).toEqual([1, 2, 3]);
      await client.close();
    },
  );

  test('asks a person or a model through the gateway where the eras allow it, and else is not charged', async () => {
    for (const connect of [connectV1, connectV2] as const) {
      const client = await connect(server.path, bearer(key));
      const before = await balanceOf(surface.gateway, key);
      const [filled, thought] = [
        await client.callTool({ name: 'form' }),
        await client.callTool({ name: 'think' }),
      ];
      // A server of before 2026-07-28 asks within a session, and clients since then cannot be asked in one.
      const canAsk = isSecond || (kind.includes('with sessions') && connect === connectV1);
      if (canAsk) {
        expect([filled.content, thought.content]).toMatchObject([
          [{ text: 'accept Ada' }],
          [{ text: 'I am a model' }],
        ]);
      } else {
        expect([filled.isError, thought.isError]).toEqual([true, true]);
      }
      expect(await balanceOf(surface.gateway, key)).toBe(canAsk ? before - 2 * PRICE : before);
      await client.close();
    }
  });

  test('is told one name of a payer, however that payer calls, and its arguments and no payment', async () => {
    const client = await connectV1(server.path, bearer(key));
    const subjects: unknown[] = [];
    await client.callTool({ name: 'greet', arguments: { name: 'Ada' } });
    subjects.push(claimsOf(own, 'tools/call').sub);
    await client.callTool({ name: 'gratis' });
    subjects.push(claimsOf(own, 'tools/call').sub);
    await client.readResource({ uri: 'own://note' });
    subjects.push(claimsOf(own, 'resources/read').sub);
    await invoke('greet', { name: 'Ada' }, bearer(key));
    subjects.push(claimsOf(own, 'tools/call').sub);
    expect(new Set(subjects).size).toBe(1);
    await invoke('greet', { name: 'Ada' }, bearer(await surface.gateway.mint(PRICE)));
    expect(claimsOf(own, 'tools/call').sub).not.toBe(subjects[0]);
    for (const { headers, body } of own.asked) {
      expect(Object.keys(headers).filter((name) => /payment|api-key|cookie|forwarded/.test(name))).toEqual(
        [],
      );
      expect(JSON.stringify(headers) + body).not.toContain(key);
    }
    await client.close();
  });

  test('gets no call whose arguments break its schema, and nobody pays for one', async () => {
    const before = own.asked.length;
    await expectFreeProblem(await invoke('greet', { name: 7 }, bearer(key)), 422, 'invalid-arguments');
    await expectFreeProblem(await invoke('greet', { name: 7 }), 422, 'invalid-arguments');
    expect(own.asked.length).toBe(before);
  });
});

test('a payer has another name at every server, and each is its own audience', async () => {
  const own = await startStateless();
  const servers = [await listOwn(surface.gateway, own), await listOwn(surface.gateway, own)];
  const key = await surface.gateway.mint(1_000);
  const told = [];
  for (const { call } of servers) {
    await surface.gateway.fetch(call, jsonBody({ tool: 'greet', arguments: { name: 'Ada' } }, bearer(key)));
    told.push(claimsOf(own, 'tools/call'));
  }
  expect(told.map(({ aud }) => aud)).toEqual(servers.map(({ id }) => id));
  expect(told[0]?.sub).not.toBe(told[1]?.sub);
  await own.close();
});

test('what a server with sessions remembers of one payer never reaches another, even in what is free', async () => {
  const own = await startSessions();
  const { call } = await listOwn(surface.gateway, own);
  const count = async (key: string) => {
    const response = await surface.gateway.fetch(call, jsonBody({ tool: 'gratis' }, bearer(key)));
    const { content } = (await readBody(response)).result;
    return (content[0] as { text: string }).text;
  };
  const [one, other] = [await surface.gateway.mint(0), await surface.gateway.mint(0)];
  expect([await count(one), await count(one), await count(other)]).toEqual(['free 1', 'free 2', 'free 1']);
  await own.close();
});

test('a new version moves to another endpoint once it is proved, and calls of an old one still go where it was', async () => {
  const [first, second] = [await startStateless(), await startSecond()];
  const { gateway } = surface;
  const { key, name, id, call } = await listOwn(gateway, first);
  const version = ownSubmission(name, { endpoint_url: second.url });
  const put = () =>
    gateway.fetch(`/mcp/${id}`, {
      ...jsonBody({ ...version, version: '2.0.0' }, bearer(key)),
      method: 'PUT',
    });
  const refused = await expectProblem(await put(), 403, 'forbidden');
  const { url, body } = refused.challenge as { url: string; body: string };
  expect(new URL(url).origin).toBe(new URL(second.url).origin);
  second.files.set(new URL(url).pathname, body);
  expect(await readBody(await put())).toMatchObject({ ok: true, id, version: '2.0.0' });
  const agentKey = await gateway.mint(1_000);
  const greet = { tool: 'greet', arguments: { name: 'Ada' } };
  const calls = (own: OwnServer) => own.asked.filter(({ rpc }) => rpc === 'tools/call').length;
  expect((await gateway.fetch(call, jsonBody(greet, bearer(agentKey)))).status).toBe(200);
  expect([calls(first), calls(second)]).toEqual([0, 1]);
  const pinned = jsonBody({ ...greet, version: '1.0.0' }, bearer(agentKey));
  expect((await gateway.fetch(call, pinned)).status).toBe(200);
  expect([calls(first), calls(second)]).toEqual([1, 1]);
  await Promise.all([first.close(), second.close()]);
});

test('200 calls at once are all delivered, charged once each, and booked', async () => {
  const own = await startSecond();
  const { call } = await listOwn(surface.gateway, own, { change: { pricing: PRICING } });
  const keys = await Promise.all(times(4, () => surface.gateway.mint(100 * PRICE)));
  const before = await readEarnings();
  const answers = await Promise.all(
    times(200, async (index) => {
      const headers = bearer(keys[index % keys.length] ?? '');
      const name = `caller ${index}`;
      const response = await surface.gateway.fetch(
        call,
        jsonBody({ tool: 'greet', arguments: { name } }, headers),
      );
      return { name, status: response.status, body: await readBody(response) };
    }),
  );
  for (const { name, status, body } of answers) {
    expect([status, body.result?.structuredContent]).toEqual([200, { greeting: `Hello ${name}` }]);
  }
  expect(new Set(answers.map(({ body }) => body.receipt_id)).size).toBe(200);
  expect(own.asked.filter(({ rpc }) => rpc === 'tools/call').length).toBe(200);
  expect(await Promise.all(keys.map((key) => balanceOf(surface.gateway, key)))).toEqual(
    times(4, () => 50 * PRICE),
  );
  const after = await readEarnings();
  expect([after.fees - before.fees, after.publishers - before.publishers]).toEqual([
    200 * FEE,
    200 * (PRICE - FEE),
  ]);
  await own.close();
}, 60_000);
