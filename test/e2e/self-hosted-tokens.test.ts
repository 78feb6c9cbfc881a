import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createMillicentVerifier,
  createReplayCache,
  type MillicentCall,
  protectNode,
} from '../../src/sdk/server/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody } from './fixtures.ts';
import { listOwn, type OwnServer, ownSubmission, serveStateless, startOwn } from './own-servers.ts';
import { bearer, readBody, type Surface, startSurface } from './surface.ts';

const ENV = { SANDBOX: 'none', REMOTE_ALLOW_LOOPBACK: 'yes' };
const GREET = { tool: 'greet', arguments: { name: 'Ada' } };

/** A server that serves nobody but the gateway, and keeps what it was told of each call. */
async function startGuarded() {
  const calls: (MillicentCall & { rpc: string })[] = [];
  const state = { now: undefined as Date | undefined, fetched: 0 };
  let serve: ((request: IncomingMessage, response: ServerResponse) => Promise<void>) | undefined;
  const server = createServer((request, response) => {
    const file = own.files.get(request.url ?? '');
    if (file !== undefined) return void response.end(file);
    if (serve === undefined) return void response.writeHead(404).end();
    return serve(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port } = server.address() as AddressInfo;
  const own: Pick<OwnServer, 'url' | 'files'> = { url: `http://127.0.0.1:${port}/mcp`, files: new Map() };
  return {
    ...{ ...own, calls, state },
    /** From here on it takes the tokens that this gateway makes for this server. */
    guard(issuer: string, audience: string) {
      const verify = createMillicentVerifier({
        ...{ issuer, audience, replays: createReplayCache(), now: () => state.now ?? new Date() },
        fetch(...asked) {
          state.fetched += 1;
          return fetch(...asked);
        },
      });
      serve = protectNode(verify, async (request, response, { call, body }) => {
        calls.push({ ...call, rpc: JSON.parse(body.toString()).method });
        await serveStateless(request, response, body);
      });
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

describe('a server that validates tokens', () => {
  let surface: Surface;
  beforeAll(async () => {
    surface = await startSurface(ENV);
  });
  afterAll(() => surface.close());

  test('knows its audience before the first request comes, and how each call is paid, by whom, for what', async () => {
    const own = await startGuarded();
    const { gateway } = surface;
    const { id, call } = await listOwn(gateway, own, {
      onPromise: async (promised) => own.guard(gateway.url, promised),
    });
    expect(new Set(own.calls.map(({ tier, subject }) => `${tier} ${subject}`))).toEqual(
      new Set(['gateway gateway']),
    );
    own.calls.length = 0;
    const key = await gateway.mint(1_000);
    const agent = await createAgent(surface.anvil);
    const byKey = await readBody(await gateway.fetch(call, jsonBody(GREET, bearer(key))));
    await gateway.fetch(call, jsonBody(GREET, bearer(key)));
    await agent.fetch(gateway.url + call, jsonBody(GREET));
    await gateway.fetch(call, jsonBody({ tool: 'gratis' }));
    expect(own.calls.map(({ tier }) => tier)).toEqual(['key', 'key', 'credential', 'free']);
    expect(new Set(own.calls.map(({ audience }) => audience))).toEqual(new Set([id]));
    const [first, second, third, fourth] = own.calls.map(({ subject }) => subject);
    expect([second, new Set([first, third, fourth]).size]).toEqual([first, 3]);
    const { receipt } = (await (await gateway.fetch(`/receipts/${byKey.receipt_id}`)).json()) as {
      receipt: { req: string };
    };
    expect(receipt.req).toBe(`sha256:${own.calls[0]?.callDigest}`);
    expect(own.calls[3]?.callDigest).not.toBe(own.calls[0]?.callDigest);
    await own.close();
  });

  test('refuses who calls it around the gateway, repeats a call, changes one, or shows a token for another server', async () => {
    const { gateway } = surface;
    const seen: { headers: Record<string, string>; body: string }[] = [];
    const own = await startGuarded();
    const spy = await startOwn(async (request, response, body) => {
      const headers = { authorization: String(request.headers.authorization), ...TYPES };
      seen.push({ headers, body: body.toString() });
      const answer = await fetch(own.url, { method: 'POST', headers, body: new Uint8Array(body) });
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
      response.end(await answer.text());
    });
    const { call } = await listOwn(gateway, spy, {
      onPromise: async (promised) => own.guard(gateway.url, promised),
    });
    const other = await listOwn(gateway, await startOwn(serveStateless).then(keep));
    const key = await gateway.mint(1_000);
    expect((await gateway.fetch(call, jsonBody(GREET, bearer(key)))).status).toBe(200);
    const { headers = {}, body = '' } = seen.at(-1) ?? {};
    const statusOf = async (init: { headers: Record<string, string>; body: string }) =>
      (await fetch(own.url, { method: 'POST', ...init })).status;
    const calls = own.calls.length;
    expect(await statusOf({ headers: TYPES, body })).toBe(401);
    expect(await statusOf({ headers, body })).toBe(401);
    expect(await statusOf({ headers, body: body.replace('Ada', 'Eve') })).toBe(401);
    await gateway.fetch(other.call, jsonBody(GREET, bearer(key)));
    const stolen = kept.at(-1)?.asked.findLast(({ rpc }) => rpc === 'tools/call');
    const authorization = String(stolen?.headers.authorization);
    expect(await statusOf({ headers: { ...TYPES, authorization }, body: stolen?.body ?? '' })).toBe(401);
    expect(own.calls.length).toBe(calls);
    await Promise.all([own.close(), spy.close(), ...kept.map((one) => one.close())]);
  });
});

const TYPES = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const kept: OwnServer[] = [];
function keep(own: OwnServer): OwnServer {
  kept.push(own);
  return own;
}

describe('when the secret is rotated', () => {
  const [OLD, NEW] = ['a1'.repeat(32), 'b2'.repeat(32)];
  const pem = { type: 'pkcs8', format: 'pem' } as const;
  const RECEIPT_KEY = generateKeyPairSync('ed25519').privateKey.export(pem).toString();
  let database: TestDatabase;
  let balancer: Awaited<ReturnType<typeof startBalancer>>;
  const gateways: TestGateway[] = [];
  beforeAll(async () => {
    [database, balancer] = await Promise.all([createTestDatabase({ poolMax: 4 }), startBalancer()]);
  });
  afterAll(async () => {
    await balancer.close();
    for (const gateway of gateways) await gateway.close();
    await database.close();
  });
  const start = async (env: Record<string, string>) => {
    const gateway = await startTestGateway({
      database,
      publicUrl: balancer.url,
      env: { ...ENV, RECEIPT_KEY, ...env },
    });
    gateways.push(gateway);
    return gateway;
  };

  test('every call of every gateway is known throughout, and no key set is asked for anew', async () => {
    const own = await startGuarded();
    const [before, after, last] = [
      await start({ SECRET: OLD, SECRET_PREVIOUS: NEW }),
      await start({ SECRET: NEW, SECRET_PREVIOUS: OLD }),
      await start({ SECRET: NEW }),
    ];
    balancer.targets = [(await start({ SECRET: OLD })).url];
    const key = await before.mint(100_000);
    const kidsOf = async () => {
      const { keys } = (await (await fetch(`${balancer.url}/.well-known/jwks.json`)).json()) as {
        keys: { kid: string }[];
      };
      return keys.map(({ kid }) => kid);
    };
    const listed = await listOwn(before, own, {
      onPromise: async (promised) => own.guard(balancer.url, promised),
    });
    const callTwice = async () => {
      const statuses = [];
      for (let count = 0; count < 2; count += 1) {
        const response = await fetch(balancer.url + listed.call, jsonBody(GREET, bearer(key)));
        statuses.push(response.status);
      }
      return statuses;
    };
    expect(await callTwice()).toEqual([200, 200]);
    const old = await kidsOf();

    // The new secret is announced; publishers keep a key set for ten minutes.
    balancer.targets = [before.url];
    const announced = await kidsOf();
    expect(announced).toEqual(expect.arrayContaining(old));
    expect(announced.length).toBe(old.length + 1);
    own.state.now = new Date(Date.now() + 11 * 60_000);
    expect(await callTwice()).toEqual([200, 200]);
    const { fetched } = own.state;

    // Gateways are restarted one by one, and calls go to both.
    balancer.targets = [before.url, after.url];
    expect([...(await callTwice()), ...(await callTwice())]).toEqual([200, 200, 200, 200]);
    expect((await kidsOf()).sort()).toEqual([...announced].sort());
    balancer.targets = [after.url];
    expect(await callTwice()).toEqual([200, 200]);
    expect(own.state.fetched).toBe(fetched);

    // What was proved under the old secret still is, and a version can be published.
    const version = ownSubmission(listed.name, { endpoint_url: own.url, version: '2.0.0' });
    const put = { ...jsonBody(version, bearer(listed.key)), method: 'PUT' };
    expect((await fetch(`${balancer.url}/mcp/${listed.id}`, put)).status).toBe(201);

    // The old secret is dropped: its key is gone, and with it what it signed.
    balancer.targets = [last.url];
    expect((await kidsOf()).length).toBe(old.length);
    own.state.now = undefined;
    expect(await callTwice()).toEqual([200, 200]);
    await own.close();
  }, 60_000);
});

/** One address for several gateways, which answer in turn. */
async function startBalancer() {
  let turn = 0;
  const state: { targets: string[] } = { targets: [] };
  const server = createServer(async (request, response) => {
    turn += 1;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method = 'GET', url = '/' } = request;
    const headers = { ...TYPES, authorization: request.headers.authorization ?? '' };
    const body = method === 'GET' ? {} : { body: Buffer.concat(chunks) };
    const answer = await fetch(`${state.targets[turn % state.targets.length]}${url}`, {
      method,
      headers,
      ...body,
    });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
    response.end(await answer.text());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return Object.assign(state, {
    url: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  });
}
