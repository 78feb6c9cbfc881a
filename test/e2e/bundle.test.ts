import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deployAnchors } from '../../scripts/dev/anchors.ts';
import { logFsckCommand } from '../../src/cli/log-fsck.ts';
import { verifyCommand } from '../../src/cli/verify.ts';
import { writeArchive } from '../../src/core/archive.ts';
import { silentLog } from '../../src/core/log.ts';
import { type Bundle, bundleSchema, verifyBundle } from '../../src/provenance/index.ts';
import { runCommand, startStage } from '../cli/millicent.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { flips } from '../provenance/bundle/flips.ts';
import { jsonBody, publishEcho, readAnswer, submission } from './fixtures.ts';
import { bearer, expectProblem } from './surface.ts';

const ORIGIN = 'bundles.example/log';
const WAIT_MS = 60_000;
const folder = mkdtempSync(join(tmpdir(), 'millicent-e2e-bundle-'));
let anvil: Anvil;
let database: TestDatabase;
let gateway: TestGateway;
let contract: string;
let published: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [anvil, database] = await Promise.all([
    startAnvil({ log: silentLog, blockTimeSeconds: 1 }),
    createTestDatabase(),
  ]);
  const anchors = await deployAnchors(anvil, ORIGIN);
  contract = anchors.versions.toLowerCase();
  gateway = await startTestGateway({ database, anvil, env: anchors.environment });
  published = await publishEcho(gateway);
});
afterAll(async () => {
  await gateway?.close();
  await Promise.all([anvil?.close(), database?.close()]);
  rmSync(folder, { recursive: true, force: true });
});

const pathOf = (version: string) => `/mcp/${encodeURIComponent(published.name)}/versions/${version}/bundle`;

async function getBundle(path: string): Promise<Bundle> {
  const response = await gateway.fetch(path);
  const text = await response.text();
  expect([response.status, text]).toEqual([200, text]);
  return bundleSchema.parse(JSON.parse(text));
}

/** Asks until the bundle is as far as it is waited for. */
async function waitForBundle(path: string, isReady: (bundle: Bundle) => boolean): Promise<Bundle> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const bundle = await getBundle(path);
    if (isReady(bundle)) return bundle;
    if (Date.now() > deadline) throw new Error(`not so in time: ${JSON.stringify(bundle).slice(0, 2_000)}`);
    await sleep(250);
  }
}

const trust = () => ({ contracts: [{ chainId: anvil.chainId, address: contract }], now: new Date() });

test('a version has a bundle at once, and an anchored one once the chain is final', async () => {
  const first = await getBundle(pathOf('1.0.0'));
  expect(first.log.origin).toBe(ORIGIN);
  expect(verifyBundle(first)).toMatchObject({
    kind: 'valid',
    leaf: { tool: published.name, version: '1.0.0' },
  });
  const anchored = await waitForBundle(pathOf('1.0.0'), ({ anchor }) => anchor !== null);
  const verdict = verifyBundle(anchored, trust());
  expect(verdict).toMatchObject({ kind: 'valid', leaf: { version: '1.0.0' } });
  expect(anchored.manifest).not.toBeNull();
});

test('what is published later is proven to come after: the log only grew to the newest anchor', async () => {
  const next = submission(published.name, { version: '1.0.1' });
  const response = await gateway.fetch(`/mcp/${published.id}`, {
    ...jsonBody(next, bearer(published.key)),
    method: 'PUT',
  });
  expect([response.status, (await readAnswer(response)).detail]).toEqual([201, undefined]);
  const grown = await waitForBundle(pathOf('1.0.0'), ({ appendOnly }) => appendOnly !== null);
  expect(verifyBundle(grown, trust())).toMatchObject({ kind: 'valid' });
  const byId = await getBundle(`/mcp/${published.id}/versions/1.0.0/bundle`);
  expect(byId.leafIndex).toBe(grown.leafIndex);
  const byIndex = await getBundle(`/log/bundle/${grown.leafIndex}`);
  expect([byIndex.entry, byIndex.manifest]).toEqual([grown.entry, grown.manifest]);

  // Any change of what a real gateway, database and chain made is found.
  for (const { path, given } of flips(grown)) {
    const verdict = verifyBundle(given);
    if (verdict.kind === 'valid') throw new Error(`the change of ${path} went unnoticed`);
    expect(verdict.reason, path).toMatch(/^\S.{5,}/);
  }
});

test('every leaf has one, the platform its own, and what is not there is told in words', async () => {
  const own = await getBundle('/log/bundle/0');
  const verdict = verifyBundle(own);
  if (verdict.kind === 'invalid' || verdict.leaf.kind !== 'publish') throw new Error(JSON.stringify(verdict));
  const { tool, version } = verdict.leaf;
  const path = `/mcp/${encodeURIComponent(tool)}/versions/${encodeURIComponent(version)}/bundle`;
  expect((await getBundle(path)).leafIndex).toBe(0);
  const response = await gateway.fetch(pathOf('1.0.0'), { headers: { origin: 'https://page.example' } });
  expect(response.headers.get('access-control-allow-origin')).toBe('*');
  expect(response.headers.get('cache-control')).toMatch(/^public, max-age=\d+$/);
  await expectProblem(await gateway.fetch(pathOf('9.9.9')), 404, 'not-found');
  await expectProblem(await gateway.fetch('/mcp/nobody%2Fnothing/versions/1.0.0/bundle'), 404, 'not-found');
  await expectProblem(await gateway.fetch('/log/bundle/999999'), 404, 'not-found');
  // No text of the database holds the character 0, and none of the grammar of leaves.
  await expectProblem(await gateway.fetch(pathOf('%00')), 404, 'not-found');
  await expectProblem(await gateway.fetch('/mcp/a%00/versions/1.0.0/bundle'), 404, 'not-found');
  for (const index of ['-1', '1.5', '01', 'x', '9'.repeat(30), '%00']) {
    await expectProblem(await gateway.fetch(`/log/bundle/${index}`), 400, 'malformed-request');
  }
});

test('a stranger verifies a version by name with its code and the chain, and the whole log', async () => {
  const code = join(folder, 'code.tar');
  const files = submission(published.name).files as Record<string, string>;
  writeFileSync(
    code,
    writeArchive(new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)]))),
  );
  const onChain = ['--rpc', anvil.rpcUrl, '--contract', `${anvil.chainId}:${contract}`];
  const named = `${published.name}@1.0.0`;
  const ran = await runCommand(verifyCommand, [named, '--url', gateway.url, '--code', code, ...onChain]);
  expect(ran).toMatchObject({ code: 0, err: '' });
  expect(ran.out).toContain('The code at hand is the code that was published');
  expect(ran.out).toContain('is final.');
  expect(ran.out).toContain(`VERIFIED ${published.name} 1.0.0`);
  const fsck = await runCommand(logFsckCommand, ['--url', gateway.url, '--rpc', anvil.rpcUrl]);
  expect(fsck).toMatchObject({ code: 0, err: '' });
  expect(fsck.out).toContain('anchors on the chain are roots of this log');
});

test('a buyer verifies a receipt, with its place in batch and log, and finds it changed', async () => {
  const key = await gateway.mint(100_000);
  const call = await gateway.fetch(
    published.call,
    jsonBody({ tool: 'echo', arguments: { text: 'hi' } }, bearer(key)),
  );
  const { receipt_id } = await readAnswer(call);
  const path = `/receipts/${receipt_id}`;
  const deadline = Date.now() + WAIT_MS;
  let text = '';
  do {
    await sleep(100);
    text = await (await gateway.fetch(path)).text();
  } while (!('log' in JSON.parse(text)) && Date.now() < deadline);
  const file = join(folder, 'receipt.json');
  writeFileSync(file, text);
  const ran = await runCommand(verifyCommand, [file, '--url', gateway.url]);
  expect(ran).toMatchObject({ code: 0, err: '' });
  expect(ran.out).toContain('is a commitment to exactly this receipt');
  expect(ran.out).toContain(`VERIFIED receipt ${receipt_id}`);
  const jwks = join(folder, 'jwks.json');
  writeFileSync(jwks, await (await gateway.fetch('/.well-known/jwks.json')).text());
  const vkey = (await (await gateway.fetch('/log/receipts/vkey')).text()).split('\n')[0] ?? '';
  const named = await runCommand(verifyCommand, [String(receipt_id), '--url', gateway.url]);
  expect(named).toMatchObject({ code: 0, out: ran.out });
  // Asked for one receipt, a gateway hands out another.
  const other = '01a1fe99-652f-727f-a4f0-a0b2e2fd1cef';
  const liar = await startStage(async (asked) =>
    asked === `/receipts/${other}` ? text : (await gateway.fetch(asked)).text(),
  );
  const lied = await runCommand(verifyCommand, [other, '--url', liar.url]);
  await liar.close();
  expect(lied).toMatchObject({ code: 1, out: expect.stringContaining('another receipt') });
  const offline = ['--offline', '--jwks', jwks, '--vkey', vkey];
  expect(await runCommand(verifyCommand, [file, ...offline])).toMatchObject({ code: 0, err: '' });

  for (const { path: changed, given } of flips(JSON.parse(text))) {
    // Whole parts may be left out, which is said; what is there must hold. Other lines of a note are nobody's.
    if (/^remove (?:log|batch)$/.test(changed)) continue;
    writeFileSync(file, JSON.stringify(given));
    const refused = await runCommand(verifyCommand, [file, ...offline]);
    expect(refused, changed).toMatchObject({ code: 1, err: '', out: expect.stringMatching(/^FAILED: \S/) });
  }
});
