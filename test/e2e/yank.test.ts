import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeLeaf, readLog } from '../../src/provenance/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { createAgent, jsonBody, publishEcho, submission } from './fixtures.ts';
import { ask, publishEverything, shakeHands } from './mcp-fixtures.ts';
import { callStateless } from './mcp-payment-fixtures.ts';
import {
  balanceOf,
  bearer,
  countByStatus,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

type Echo = Awaited<ReturnType<typeof publishEcho>>;

let surface: Surface;
let gateway: TestGateway;

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
});
afterAll(() => surface.close());

function publishNext(server: Echo, version: string, change: Record<string, unknown> = {}) {
  const body = submission(server.name, { version, ...change });
  return gateway.fetch(`/mcp/${server.id}`, { ...jsonBody(body, bearer(server.key)), method: 'PUT' });
}

const yank = (server: Echo, version: string, key = server.key) =>
  gateway.fetch(`/mcp/${server.id}/versions/${version}/yank`, { method: 'POST', headers: bearer(key) });

const readListing = async (server: Echo, version = '') =>
  (await (await gateway.fetch(`/mcp/${server.id}${version && `?version=${version}`}`)).json()) as Record<
    string,
    unknown
  >;

async function search(words: string): Promise<string[]> {
  const { servers } = await readBody(await gateway.fetch(`/mcp?q=${encodeURIComponent(words)}`));
  return servers.map(({ name }) => name);
}

async function listYanks(server: Echo) {
  const entries = await readLog(gateway.deps.http.sql, { fromIndex: 0n, entriesMax: 1_000 });
  return entries.flatMap(({ entry, leafIndex }) => {
    const leaf = decodeLeaf(entry);
    return leaf?.kind === 'yank' && leaf.tool === server.name ? [{ ...leaf, index: Number(leafIndex) }] : [];
  });
}

test('a yank is a leaf of the log, and the newest version that is left is listed and called', async () => {
  const server = await publishEcho(gateway);
  const { files } = submission(server.name) as { files: { 'server.py': string } };
  const code = files['server.py'].replaceAll('"echo"', '"mirror"');
  expect((await publishNext(server, '1.1.0')).status).toBe(201);
  expect((await publishNext(server, '1.2.0', { files: { 'server.py': code } })).status).toBe(201);
  expect(await search(`${server.name} mirror`)).toEqual([server.name]);

  const response = await yank(server, '1.2.0');
  expect(response.status).toBe(200);
  const [leaf, ...others] = await listYanks(server);
  expect(others).toEqual([]);
  expect(leaf).toMatchObject({ tool: server.name, version: '1.2.0' });
  expect(await response.json()).toMatchObject({
    ...{ ok: true, name: server.name, version: '1.2.0', yanked: true, current_version: '1.1.0' },
    log_index: leaf?.index,
  });
  expect(await readListing(server)).toMatchObject({ version: '1.1.0', yanked: false });
  expect(await readListing(server, '1.2.0')).toMatchObject({
    version: '1.2.0',
    yanked: true,
    verified: null,
  });
  // It is found by the tools that it has now.
  expect(await search(`${server.name} mirror`)).toEqual([]);
  expect(await search(`${server.name} echo`)).toEqual([server.name]);
  const key = await gateway.mint(1_000);
  const call = jsonBody({ tool: 'echo', arguments: { text: 'hi' } }, bearer(key));
  expect((await gateway.fetch(server.call, call)).status).toBe(200);
  const versions = await (await gateway.fetch(`/mcp/${server.id}/versions`)).json();
  expect(versions).toMatchObject({
    versions: [
      { version: '1.2.0', yanked: true },
      { version: '1.1.0', yanked: false },
      { version: '1.0.0', yanked: false },
    ],
  });
});

test('a version that is not the newest is yanked without moving the listing', async () => {
  const server = await publishEcho(gateway);
  expect((await publishNext(server, '2.0.0')).status).toBe(201);
  expect(await (await yank(server, '1.0.0')).json()).toMatchObject({ current_version: '2.0.0' });
  expect(await readListing(server)).toMatchObject({ version: '2.0.0', yanked: false });
});

test('pinning a yanked version is refused before any payment talk, over HTTP and MCP', async () => {
  const server = await publishEcho(gateway);
  expect((await publishNext(server, '2.0.0')).status).toBe(201);
  expect((await yank(server, '1.0.0')).status).toBe(200);
  const key = await gateway.mint(1_000);
  for (const headers of [{}, bearer(key)]) {
    const pinned = jsonBody({ tool: 'random', version: '1.0.0' }, headers);
    expect(await expectFreeProblem(await gateway.fetch(server.call, pinned), 410, 'yanked')).toMatchObject({
      version: '1.0.0',
    });
    const meta = { 'millicent/version': '1.0.0' };
    const answer = await callStateless(gateway, server.id, { tool: 'random', args: {}, meta, headers });
    expect(answer.result?._meta?.['millicent/problem']).toMatchObject({
      ...{ status: 410, note: 'no charge applied' },
    });
    expect(answer.text).not.toMatch(/x402Version|accepts|org\.paymentauth/);
  }
  expect(await balanceOf(gateway, key)).toBe(1_000);
});

test('a server without a version left is off the lists and sells nothing, until its next version', async () => {
  const server = await publishEcho(gateway);
  expect(await search(server.name)).toEqual([server.name]);
  const key = await gateway.mint(1_000);
  expect(await (await yank(server, '1.0.0')).json()).toMatchObject({ current_version: null });
  expect(await search(server.name)).toEqual([]);
  expect(await readListing(server)).toMatchObject({ version: '1.0.0', yanked: true });
  const call = jsonBody({ tool: 'random' }, bearer(key));
  await expectFreeProblem(await gateway.fetch(server.call, call), 410, 'yanked');

  // A yanked number is used up, whatever is sent under it.
  await expectProblem(await publishNext(server, '1.0.0'), 409, 'conflict');
  await expectProblem(await publishNext(server, '0.9.0'), 409, 'conflict');
  expect((await publishNext(server, '1.0.1')).status).toBe(201);
  expect(await search(server.name)).toEqual([server.name]);
  expect((await gateway.fetch(server.call, call)).status).toBe(200);
  expect(await balanceOf(gateway, key)).toBe(950);
});

test('what is free of a yanked server is over as well', async () => {
  const server = await publishEverything(gateway);
  const session = await shakeHands(gateway, server.path);
  const list = () => ask(gateway, server.path, 'resources/list', {}, session);
  expect((await list()).body.result).toBeDefined();
  expect((await yank(server, '1.0.0')).status).toBe(200);
  expect((await list()).body.error?.message).toContain('was yanked by its publisher');
});

test('after a yank of the newest, the next version still comes after all there ever were', async () => {
  const server = await publishEcho(gateway);
  expect((await publishNext(server, '3.0.0')).status).toBe(201);
  expect((await yank(server, '3.0.0')).status).toBe(200);
  expect(await expectProblem(await publishNext(server, '2.0.0'), 409, 'conflict')).toMatchObject({
    latest_version: '3.0.0',
  });
});

test('what was paid for is answered again after the yank, and its manifest can still be read', async () => {
  const server = await publishEcho(gateway);
  const agent = await createAgent(surface.anvil);
  const request = jsonBody({ tool: 'random' });
  const credential = await agent.sign(await gateway.fetch(server.call, request));
  const paying = jsonBody({ tool: 'random' }, credential);
  const first = await (await gateway.fetch(server.call, paying)).json();
  expect(first).toMatchObject({ ok: true, charged_mcents: 50 });
  const late = await agent.sign(await gateway.fetch(server.call, request));
  const owned = await agent.owns();
  expect((await yank(server, '1.0.0')).status).toBe(200);
  expect(await (await gateway.fetch(server.call, paying)).json()).toEqual(first);
  // A payment that was signed for it and comes too late is not taken.
  const refused = await gateway.fetch(server.call, jsonBody({ tool: 'random' }, late));
  await expectFreeProblem(refused, 410, 'yanked');
  expect(await agent.owns()).toBe(owned);
  expect((await gateway.fetch(`/mcp/${server.id}/versions/1.0.0/manifest`)).status).toBe(200);
});

test('the same yank again, and ten at once, are one leaf with one answer', async () => {
  const server = await publishEcho(gateway);
  const other = await surface.startAnother({ anvil: surface.anvil });
  const path = `/mcp/${server.id}/versions/1.0.0/yank`;
  const responses = await Promise.all(
    times(10, (index) =>
      (index % 2 ? gateway : other).fetch(path, { method: 'POST', headers: bearer(server.key) }),
    ),
  );
  expect(countByStatus(responses)).toEqual({ 200: 10 });
  const answers = await Promise.all([...responses, await yank(server, '1.0.0')].map((one) => one.text()));
  expect(new Set(answers).size).toBe(1);
  expect(await listYanks(server)).toHaveLength(1);
  // The other gateway knows it at once, or a second later.
  const call = jsonBody({ tool: 'random' }, bearer(await gateway.mint(100)));
  await expectFreeProblem(await other.fetch(server.call, call), 410, 'yanked');
});

test('only its publisher yanks a version, and what there is not is not yanked', async () => {
  const server = await publishEcho(gateway);
  const stranger = await gateway.mint(0, ['publish']);
  const reader = await gateway.mint(100);
  await expectProblem(await yank(server, '1.0.0', stranger), 404, 'not-found');
  await expectProblem(await yank(server, '1.0.0', reader), 403, 'forbidden');
  await expectProblem(await yank(server, '9.0.0'), 404, 'not-found');
  await expectProblem(await yank(server, 'nonsense'), 404, 'not-found');
  await expectProblem(await yank(server, '%00'), 404, 'not-found');
  const nobody = await gateway.fetch(`/mcp/${server.id}/versions/1.0.0/yank`, { method: 'POST' });
  await expectProblem(nobody, 401, 'unauthorized');
  const unknown = await gateway.fetch('/mcp/nobody%2Fnothing/versions/1.0.0/yank', {
    ...{ method: 'POST', headers: bearer(server.key) },
  });
  await expectProblem(unknown, 404, 'not-found');
  expect(await listYanks(server)).toEqual([]);
  expect(await readListing(server)).toMatchObject({ yanked: false });
});
