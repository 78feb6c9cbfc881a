import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCalls } from '../../scripts/demo/calls.ts';
import { loadSampleServers } from '../../scripts/demo/sample-servers.ts';
import type { Call } from '../../scripts/demo/stage.ts';
import { connect, type SampleFolder, call as send, unpackSampleServers } from './sample-client.ts';

const servers = loadSampleServers();
const calls = createCalls(
  servers.map((server) => ({ ...server, id: '', codeHash: '', logIndex: 0, tools: [] })),
);
const clients = new Map<string, Client>();
let samples: SampleFolder;
beforeAll(async () => {
  samples = unpackSampleServers();
  for (const { folder, manifest } of servers) clients.set(manifest.name, await connect(samples.root, folder));
});
afterAll(async () => {
  await Promise.all([...clients.values()].map((client) => client.close()));
  samples.remove();
});

async function ask(call: Call) {
  const client = clients.get(call.server);
  if (!client) throw new Error(`${call.server} is not running`);
  return send(client, call.tool, call.arguments);
}

test('every metered call of the demo is one that its tool delivers', async () => {
  const planned = calls.metered();
  expect(planned).toHaveLength(300);
  for (const call of planned) expect(await ask(call)).toMatchObject({ isError: false });
});

test('the call that is to fail fails by its input', async () => {
  expect(await ask(calls.profileBrokenTable())).toMatchObject({ isError: true });
});

test('the call that is paid on every rail is delivered, and its broken table is not', async () => {
  const reports = servers.find(({ folder }) => folder === 'csv-profile');
  if (!reports) throw new Error('there is no csv-profile');
  const listed = { ...reports, id: '', codeHash: '', logIndex: 0, tools: [] };
  expect(await ask(calls.reportOnTable(listed))).toMatchObject({ isError: false, data: { rows: 400 } });
  expect(await ask(calls.reportOnBrokenTable(listed))).toMatchObject({ isError: true });
  expect(await ask(calls.findKeyPhrases())).toMatchObject({ isError: false });
});

test('prices split 80 to 20 without a remainder, so that the demo can check the split exactly', () => {
  for (const { priceMcents } of calls.metered()) {
    expect(priceMcents).toBeGreaterThan(0);
    expect(priceMcents % 5).toBe(0);
  }
});
