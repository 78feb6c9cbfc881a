import { afterAll, beforeAll, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createMarket, createSubmission } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/** A server, and two gateways that sell it: one where its publisher is, and another. */
async function createGateways() {
  const [here, there] = [createMarket(database.sql), createMarket(database.sql)];
  const first = await here.list();
  const publishNext = (version: string, changes = {}) =>
    here.publish({ ...first, submission: createSubmission({ name: first.name, version, ...changes }) });
  const pause = (reason: string) =>
    withTransaction(database.sql, (tx) => here.catalog.pause(tx, first.serverId, reason));
  return { here, there, first, publishNext, pause };
}

it('a publication shows at once where it was made, and within a second everywhere else', async () => {
  const { here, there, first, publishNext } = await createGateways();
  const see = async ({ catalog }: typeof here) => {
    const listing = await catalog.findListing(first.name);
    return [listing?.version.version, listing?.server.description, listing?.priceOf('run')];
  };
  expect([await see(here), await see(there)]).toEqual(Array(2).fill(['1.0.0', expect.any(String), 250n]));
  await publishNext('1.1.0', { description: 'New', pricing: { model: 'per_call', amount_mcents: 300 } });
  here.catalog.forget(first.serverId);
  expect(await see(here)).toEqual(['1.1.0', 'New', 300n]);
  there.wait(999);
  expect(await see(there)).toEqual(['1.0.0', 'Counts the words of a text', 250n]);
  there.wait(1);
  expect(await see(there)).toEqual(['1.1.0', 'New', 300n]);
});

it('a server that is forgotten is forgotten by its id and by its name, and no other is', async () => {
  const { here, first, publishNext } = await createGateways();
  const other = await here.list();
  const numberOf = async (by: string) => (await here.catalog.findListing(by))?.version.version;
  for (const by of [first.name, first.serverId, other.name]) expect(await numberOf(by)).toBe('1.0.0');
  await publishNext('2.0.0');
  const submission = createSubmission({ name: other.name, version: '2.0.0' });
  await here.publish({ ...other, submission });
  here.catalog.forget(first.serverId);
  expect([await numberOf(first.name), await numberOf(first.serverId)]).toEqual(['2.0.0', '2.0.0']);
  expect(await numberOf(other.name)).toBe('1.0.0');
});

it('a name or a version that was asked for too early is found as soon as it is published', async () => {
  const { there, first, publishNext } = await createGateways();
  const name = `${first.name}-later`;
  expect(await there.catalog.findListing(name)).toBeUndefined();
  expect(await there.catalog.findListing(first.name, '1.1.0')).toBeUndefined();
  await there.publish({ publisherId: first.publisherId, submission: createSubmission({ name }) });
  await publishNext('1.1.0');
  expect((await there.catalog.findListing(name))?.server.name).toBe(name);
  expect((await there.catalog.findListing(first.name, '1.1.0'))?.version.version).toBe('1.1.0');
});

it('an old version stays what it was, under the listing of today', async () => {
  const { there, first, publishNext } = await createGateways();
  const before = await there.catalog.findListing(first.name, '1.0.0');
  there.wait(60_000);
  await publishNext('1.1.0', { description: 'New', changelog: 'better', files: { 'server.py': 'x' } });
  const after = await there.catalog.findListing(first.name, '1.0.0');
  expect(after?.version).toEqual(before?.version);
  expect(after?.version).toMatchObject({
    id: first.versionId,
    codeSha256: first.codeSha256,
    changelog: null,
  });
  expect(after?.server.description).toBe('New');
  expect(await there.catalog.listVersions(first.serverId)).toMatchObject([
    { version: '1.1.0', changelog: 'better' },
    { version: '1.0.0', logIndex: first.logIndex },
  ]);
});

it('a pause keeps its first time and reason, hides the server from lists, and ends with a new version', async () => {
  const { here, there, first, publishNext, pause } = await createGateways();
  const readPause = async () => {
    there.wait(1_000);
    return (await there.catalog.findListing(first.name))?.server.paused;
  };
  const isListed = async () => (await there.catalog.search({ q: first.name })).servers.length === 1;
  expect([await readPause(), await isListed()]).toEqual([undefined, true]);
  await pause('it fails');
  here.wait(5_000);
  await pause('it fails again');
  const since = new Date('2026-03-01T12:00:00.000Z');
  expect([await readPause(), await isListed()]).toEqual([{ since, reason: 'it fails' }, false]);
  await here.publish({ ...first, submission: createSubmission({ name: first.name }) });
  expect(await readPause()).toEqual({ since, reason: 'it fails' });
  await publishNext('1.0.1');
  expect([await readPause(), await isListed()]).toEqual([undefined, true]);
});

it('what cannot be a name, an id or a version is not there, and no question for the database', async () => {
  const { here, first } = await createGateways();
  const names = [
    ...['', 'acme', 'acme/', '/x', 'a/b/c', 'acme/\0', `${first.name} `, first.name.toUpperCase(), "'; --/x"],
    ...[
      first.serverId.toUpperCase(),
      `${first.serverId}0`,
      `{${first.serverId}}`,
      newUuid(),
      'x'.repeat(1e6),
    ],
  ];
  for (const name of names) expect(await here.catalog.findListing(name)).toBeUndefined();
  for (const version of ['', '1.0', 'latest', '1.0.0 ', '1.0.0\0', 'v1.0.0', '1.0.0+x', '9.9.9']) {
    expect(await here.catalog.findListing(first.name, version)).toBeUndefined();
  }
});
