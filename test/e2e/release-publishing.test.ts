import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { archiveHash, writeArchive } from '../../src/core/archive.ts';
import { decodeLeaf, readLog } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { createSigningTools } from '../harness/signing-tools.ts';
import { jsonBody, submission } from './fixtures.ts';
import { bearer, expectFreeProblem, times } from './surface.ts';

const SERVER = readFileSync(join(import.meta.dirname, 'servers/echo.py'));
const FILES = new Map([['server.py', SERVER]]);
const ARCHIVE = writeArchive(FILES);
const DAY_MS = 86_400_000;

const tools = createSigningTools();
const { ssh, gpg, minisign } = tools;
let database: TestDatabase;
let gateway: TestGateway;
let aheadMs = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  gateway = await startTestGateway({
    database,
    change(deps) {
      deps.http.clock = { now: () => new Date(Date.now() + aheadMs) };
    },
  });
});
afterAll(async () => {
  tools.remove();
  await gateway?.close();
  await database?.close();
});

/** Who signs, with a key of what kind. */
type Signer = { format: string; key: string; sign(data: Uint8Array, namespace: string): string };

function makeSsh(): Signer {
  const { path, publicKey } = ssh.makeKey();
  return { format: 'ssh', key: publicKey, sign: (data, namespace) => ssh.sign(path, data, { namespace }) };
}

function makeGpg(expires = '0'): Signer {
  const fingerprint = gpg.makeKey({ expires, at: new Date(Date.now() - DAY_MS) });
  return { format: 'openpgp', key: gpg.exportKey(fingerprint), sign: (data) => gpg.sign(fingerprint, data) };
}

function makeMinisign(): Signer {
  const { path, publicKey } = minisign.makeKey();
  return { format: 'minisign', key: publicKey, sign: (data) => minisign.sign(path, data) };
}

let publishers = 0;

/** A publisher whose signer's key is registered; `publish` sends the test server with a signature. */
async function createPublisher(signer: Signer, options: { expiresAt?: Date } = {}) {
  publishers += 1;
  const name = `signed${publishers}-${process.pid}/echo`;
  const key = await gateway.mint(0, ['publish', 'read']);
  const told = await get('/v1/release-keys', key);
  const { proof_text: text, proof_namespace: proofNamespace, release_namespace: namespace } = told;
  const proof = signer.sign(Buffer.from(String(text)), String(proofNamespace));
  const response = await gateway.fetch(
    '/v1/release-keys',
    jsonBody(
      { format: signer.format, key: signer.key, proof, expires_at: options.expiresAt?.toISOString() },
      bearer(key),
    ),
  );
  const { id: keyId } = (await response.json()) as { id: string };
  expect(response.status).toBe(201);
  return {
    name,
    key,
    keyId,
    namespace: String(namespace),
    publish: (signature: string, change: Record<string, unknown> = {}) =>
      gateway.fetch('/mcp', jsonBody(submission(name, { signature, ...change }), bearer(key))),
    async revoke() {
      const path = `/v1/release-keys/${encodeURIComponent(keyId)}/revoke`;
      const revoked = await gateway.fetch(path, { method: 'POST', headers: bearer(key) });
      expect(revoked.status).toBe(200);
    },
  };
}

async function get(path: string, key?: string): Promise<Record<string, unknown>> {
  const response = await gateway.fetch(path, key === undefined ? {} : { headers: bearer(key) });
  return (await response.json()) as Record<string, unknown>;
}

const findServer = (name: string) => gateway.fetch(`/mcp/${encodeURIComponent(name)}`);

test.each([
  ['SSH', makeSsh],
  ['OpenPGP', makeGpg],
  ['minisign', makeMinisign],
] as const)(
  'a release signed with %s is published, and its listing says that it is verified',
  async (_, make) => {
    const signer = make();
    const publisher = await createPublisher(signer);
    const response = await publisher.publish(signer.sign(ARCHIVE, publisher.namespace));
    const published = (await response.json()) as { code_hash: string; log_index: number };
    expect([response.status, published.code_hash]).toEqual([201, `sha256:${archiveHash(FILES)}`]);
    // Its leaf counts once a signed checkpoint covers it.
    await expect
      .poll(async () => (await get(`/mcp/${encodeURIComponent(publisher.name)}`)).verified, {
        timeout: 20_000,
      })
      .toMatchObject({
        statement: expect.stringMatching(
          new RegExp(`^v1\\.0\\.0 verified on \\d{4}-\\d\\d-\\d\\d, ${published.code_hash}$`),
        ),
        key: { format: signer.format, id: publisher.keyId },
        log_index: published.log_index,
      });
  },
);

test('what was published without a signature is listed, and not as verified', async () => {
  const key = await gateway.mint(0, ['publish', 'read']);
  const name = `unsigned-${process.pid}/echo`;
  const response = await gateway.fetch('/mcp', jsonBody(submission(name), bearer(key)));
  expect(response.status).toBe(201);
  // The checkpoint that covers a later leaf covers this one.
  const signer = makeSsh();
  const later = await createPublisher(signer);
  await later.publish(signer.sign(ARCHIVE, later.namespace));
  const findVerified = async () => (await get(`/mcp/${encodeURIComponent(later.name)}`)).verified;
  await expect.poll(findVerified, { timeout: 20_000 }).toMatchObject({ key: { id: later.keyId } });
  expect(await get(`/mcp/${encodeURIComponent(name)}`)).toMatchObject({ name, verified: null });
});

test('tampered code, another key, another purpose and no signature at all are refused, and nothing is published', async () => {
  const signer = makeSsh();
  const stranger = makeSsh();
  const publisher = await createPublisher(signer);
  const { namespace } = publisher;
  const tampered = { files: { 'server.py': `${SERVER}\n` } };
  const good = signer.sign(ARCHIVE, namespace);
  const refused: [Promise<Response>, string][] = [
    [publisher.publish(good, tampered), 'not made by this key over these bytes'],
    [publisher.publish(stranger.sign(ARCHIVE, namespace)), "by none of its publisher's keys"],
    [publisher.publish(signer.sign(ARCHIVE, 'git')), 'not made for this'],
    [publisher.publish(makeGpg().sign(ARCHIVE, '')), 'has no key of this kind'],
    [publisher.publish('trust me'), 'no signature of SSH, OpenPGP or minisign'],
  ];
  for (const [response, reason] of refused) {
    const body = await expectFreeProblem(await response, 422, 'invalid-code');
    expect(body).toMatchObject({ field: 'signature', detail: expect.stringContaining(reason) });
  }
  expect((await findServer(publisher.name)).status).toBe(404);
  expect((await publisher.publish(good)).status).toBe(201);
});

test('a revoked key publishes nothing more', async () => {
  const signer = makeMinisign();
  const publisher = await createPublisher(signer);
  const signature = signer.sign(ARCHIVE, publisher.namespace);
  await publisher.revoke();
  const body = await expectFreeProblem(await publisher.publish(signature), 422, 'invalid-code');
  expect(body.detail).toMatch(/key [0-9A-F]{16} was revoked on 20/);
  expect((await findServer(publisher.name)).status).toBe(404);
});

test('whatever races, a signed version stands in the log after its key and before the end of it', async () => {
  const other = await startTestGateway({ database, publicUrl: gateway.url });
  const gateways = [gateway, other];
  const signer = makeSsh();
  const publisher = await createPublisher(signer);
  const signature = signer.sign(ARCHIVE, publisher.namespace);
  // Twenty servers on two gateways, and the key ends somewhere among them.
  let left = 20;
  const publishing = times(left, async (at) => {
    const body = submission(`${publisher.name}${at}`, { signature });
    const response = await (gateways[at % 2] ?? other).fetch('/mcp', jsonBody(body, bearer(publisher.key)));
    left -= 1;
    return response.status;
  });
  await expect.poll(() => left, { timeout: 60_000, interval: 5 }).toBeLessThan(17);
  await publisher.revoke();
  const statuses = new Set(await Promise.all(publishing));
  await other.close();
  expect([...statuses].filter((status) => status !== 201 && status !== 422)).toEqual([]);
  const leaves = (await readLog(database.sql, { fromIndex: 0n, entriesMax: 1_000 })).flatMap(
    ({ entry }) => decodeLeaf(entry) ?? [],
  );
  const kinds = leaves
    .filter((leaf) =>
      leaf.kind === 'publish'
        ? leaf.tool.startsWith(publisher.name)
        : 'key' in leaf && leaf.key === publisher.keyId,
    )
    .map(({ kind }) => kind);
  expect(kinds[0]).toBe('key-add');
  expect(kinds.at(-1)).toBe('key-revoke');
  expect(kinds.slice(1, -1).length).toBeGreaterThanOrEqual(4);
  expect(new Set(kinds.slice(1, -1))).toEqual(new Set(['publish']));
});

test('a key that has expired publishes nothing, whoever set its end, and the day before it did', async () => {
  const byKey = makeGpg('5d');
  const byPublisher = makeSsh();
  for (const [signer, options] of [
    [byKey, {}],
    [byPublisher, { expiresAt: new Date(Date.now() + 4 * DAY_MS) }],
  ] as const) {
    aheadMs = 0;
    const publisher = await createPublisher(signer, options);
    const signature = signer.sign(ARCHIVE, publisher.namespace);
    aheadMs = 6 * DAY_MS;
    const body = await expectFreeProblem(await publisher.publish(signature), 422, 'invalid-code');
    expect(body.detail).toMatch(/expired on 20/);
    expect((await findServer(publisher.name)).status).toBe(404);
    aheadMs = 3 * DAY_MS;
    expect((await publisher.publish(signature)).status).toBe(201);
  }
  aheadMs = 0;
});
