import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { logFsckCommand } from '../../src/cli/log-fsck.ts';
import { silentLog } from '../../src/core/log.ts';
import {
  createReplay,
  encodeCheckpoint,
  encodeCommitment,
  encodeLeaf,
  type NoteSigner,
  parseTilePath,
  signNote,
} from '../../src/provenance/index.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import {
  createMemoryLog,
  createTestChain,
  newSigner,
  ORIGIN,
  type TestChain,
  versionAt,
} from '../provenance/bundle/fixture.ts';
import { millicent, runCommand, type Stage, startStage } from './millicent.ts';

const signer = newSigner(ORIGIN);
let anvil: Anvil;
let chain: TestChain;
/** What the gateway serves: entries as they are now, under a checkpoint of the entries as they were signed. */
let entries: Buffer[];
let signed: { note: string; signer: NoteSigner };
let gateway: Stage;
let contracts: { log: string; chain_id: number; contract: string }[];

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  chain = await createTestChain(anvil);
  const log = createMemoryLog([signer]);
  for (let index = 0; index < 300; index += 1) log.entries.push(versionAt(index).entry);
  await chain.anchor({ treeSize: 7, root: log.rootAt(7), proof: [] });
  const proof = await log.proveConsistency({ fromSize: 7, toSize: 300 });
  await chain.anchor({ treeSize: 300, root: log.rootAt(300), proof });
});
afterAll(() => anvil?.close());

beforeEach(async () => {
  entries = Array.from({ length: 300 }, (_, index) => versionAt(index).entry);
  contracts = [{ log: 'versions', chain_id: anvil.chainId, contract: chain.contract }];
  sign();
  gateway = await startStage((path) => {
    const [, prefix, rest = ''] = /^(\/log(?:\/receipts)?)\/(checkpoint|vkey|tile\/.*)$/.exec(path) ?? [];
    if (path.startsWith('/anchors?')) return JSON.stringify({ ok: true, anchors: [], targets: contracts });
    if (prefix === undefined) return undefined;
    if (rest === 'vkey') return `${signed.signer.vkey}\n`;
    return rest === 'checkpoint' ? signed.note : readTile(rest.slice('tile/'.length));
  });
});
afterEach(() => gateway?.close());

/** Signs the entries as they are. */
function sign(by = signer): void {
  const replay = createReplay();
  for (const entry of entries) replay.append(entry);
  const text = encodeCheckpoint({ origin: by.name, treeSize: entries.length, root: replay.root() });
  signed = { note: signNote(text, [by]), signer: by };
}

function readTile(path: string): Buffer | undefined {
  const tile = parseTilePath(path);
  if (tile?.level !== 'entries') return undefined;
  return Buffer.concat(
    entries.slice(tile.n * 256, tile.n * 256 + tile.width).flatMap((entry) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(entry.length);
      return [length, entry];
    }),
  );
}

const fsck = (...args: string[]) => runCommand(logFsckCommand, ['--url', gateway.url, ...args]);

describe('millicent log fsck', () => {
  test('builds a whole log anew, comes to its signed root, and to every root on the chain', async () => {
    const ran = await millicent([
      'log',
      'fsck',
      '--url',
      gateway.url,
      '--rpc',
      anvil.rpcUrl,
      '--vkey',
      signer.vkey,
    ]);
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toContain('from all 300 entries');
    expect(ran.out).toContain('All 2 anchors on the chain');
    expect(ran.out).toContain(`The log's key, which you gave: ${signer.vkey}`);
    expect(ran.out).toMatch(/VERIFIED market\.example\/log: 300 leaves\n$/);
    const alone = await fsck('--json');
    expect(alone.code).toBe(0);
    expect(JSON.parse(alone.out).trusted[0]).toContain(`which ${gateway.url} served`);
    expect(JSON.parse(alone.out).not_checked.join()).toContain('name a node with --rpc');
  });

  test('finds an entry that was changed, taken out, put in or moved after it was signed', async () => {
    const [first, second] = entries;
    if (!first || !second) throw new Error('no entries');
    for (const other of [
      entries.with(0, encodeLeaf({ ...leafAt(0), sha256: 'f'.repeat(64) })),
      entries.with(0, second).with(1, first),
      [...entries.slice(1), versionAt(300).entry],
    ]) {
      entries = other;
      const ran = await fsck();
      expect(ran).toMatchObject({
        code: 1,
        out: expect.stringMatching(/^FAILED: the entries come to the root/),
      });
    }
    entries = entries.slice(1);
    expect((await fsck()).out).toMatch(/^FAILED: .*does not hold/);
  });

  test('finds a version that a signed log holds twice, and tells both codes', async () => {
    entries.push(encodeLeaf({ ...leafAt(4), sha256: 'f'.repeat(64) }));
    sign();
    const ran = await fsck();
    expect(ran.code).toBe(1);
    expect(ran.out).toContain('leaf 300 says again what leaf 4 says (publish acme/text-stats 1.0.4)');
    expect(ran.out).toContain(`with other code: ${versionAt(4).sha256} and then ${'f'.repeat(64)}`);
  });

  test('finds a leaf that is not spelled as the log spells leaves', async () => {
    entries[7] = Buffer.from('mcp-log/v1 publish\ntool acme/x\n');
    entries[9] = Buffer.from([0xff, 0, 1]);
    sign();
    const ran = await fsck();
    expect(ran).toMatchObject({ code: 1, out: expect.stringContaining('leaf 7: it is not spelled') });
    expect(ran.err).toContain('leaf 9: it is not spelled');
  });

  test('finds a log that was rewritten and signed again, or cut, by the roots that a chain keeps', async () => {
    entries[3] = encodeLeaf({ ...leafAt(3), sha256: 'f'.repeat(64) });
    sign();
    expect((await fsck()).code).toBe(0);
    const ran = await fsck('--rpc', anvil.rpcUrl);
    expect(ran.code).toBe(1);
    expect(ran.err).toMatch(
      /anchor 0 of 0x[0-9a-f]{40} on chain 84532 is another root than that of the first 7/,
    );
    expect(ran.err).toContain('anchor 1');
    entries = Array.from({ length: 20 }, (_, index) => versionAt(index).entry);
    sign();
    const cut = await fsck('--rpc', anvil.rpcUrl);
    expect(cut).toMatchObject({ code: 1, out: expect.stringContaining('the log has 20: it was cut') });
  });

  test('takes no contract that is none, none that the log does not name, and no signature of a stranger', async () => {
    const contract = (address: string) => [
      '--rpc',
      anvil.rpcUrl,
      '--contract',
      `${anvil.chainId}:${address}`,
    ];
    expect((await fsck(...contract(chain.contract))).code).toBe(0);
    const token = await fsck(...contract(anvil.token));
    expect(token).toMatchObject({ code: 1, out: expect.stringContaining('other code than VersionAnchor') });
    contracts = [];
    const none = await fsck('--rpc', anvil.rpcUrl);
    expect(none).toMatchObject({ code: 1, out: expect.stringContaining('no contract on the chain') });
    entries.push(
      encodeLeaf({
        ...{ kind: 'anchor-contract', log: 'versions', chain: anvil.chainId, time: 1_763_702_345 },
        contract: `0x${'ab'.repeat(20)}`,
      }),
    );
    sign();
    const unnamed = await fsck(...contract(chain.contract));
    expect(unnamed).toMatchObject({ code: 1, out: expect.stringContaining('does not name 0x') });
    sign(newSigner(ORIGIN));
    const strange = await fsck('--vkey', signer.vkey);
    expect(strange).toMatchObject({ code: 1, out: expect.stringMatching(/^FAILED: No known key signed/) });
  });

  test('finds a gap in the sales of a lane, a sale told twice, and one out of order', async () => {
    const sale = (seq: number, lane = 'a') =>
      encodeCommitment({ tool: 'acme/text-stats', lane, seq, commit: 'ab'.repeat(32) });
    const replay = async (...sold: Buffer[]) => {
      entries = sold;
      sign(newSigner(`${ORIGIN}/receipts`));
      return fsck('--log', 'receipts');
    };
    const good = await replay(sale(1), sale(1, 'b'), sale(2), sale(3), sale(2, 'b'));
    expect(good).toMatchObject({ code: 0, out: expect.stringContaining('without a gap') });
    expect((await replay(sale(1), sale(3))).out).toContain(
      'it is sale 3 of acme/text-stats on the lane a, where 2 was',
    );
    expect((await replay(sale(1), sale(1))).out).toContain('where 2 was next');
    expect((await replay(sale(2))).out).toContain('where 1 was next');
    expect((await replay(versionAt(0).entry)).out).toContain('spells receipts');
  });

  test('tells misuse and a gateway that is not there in a line', async () => {
    expect(await fsck('--log', 'sales')).toMatchObject({
      code: 2,
      err: expect.stringContaining('versions or rec'),
    });
    expect(await fsck('--contract', `1:${chain.contract}`)).toMatchObject({ code: 2 });
    const gone = await runCommand(logFsckCommand, []);
    expect(gone).toMatchObject({ code: 2, err: expect.stringContaining('does not answer') });
  });

  test('a log of more wrong entries than anyone reads is not read to its end', async () => {
    const wrong = Buffer.from('mcp-log/v2 surprise\n');
    entries = Array.from({ length: 256 }, () => wrong);
    sign();
    // A tree of equal leaves is cheap to sign at any size, and endless to read.
    const text = encodeCheckpoint({ origin: ORIGIN, treeSize: 2 ** 52, root: Buffer.alloc(32) });
    signed = { note: signNote(text, [signer]), signer };
    const ran = await runCommand(logFsckCommand, ['--url', gateway.url]);
    expect(ran).toMatchObject({ code: 1, out: expect.stringMatching(/^FAILED: /) });
  });
});

function leafAt(index: number) {
  const { tool, version, sha256 } = versionAt(index);
  const manifest = '0'.repeat(64);
  return {
    kind: 'publish' as const,
    tool,
    version,
    sha256,
    manifest,
    publisher: 'acme',
    time: 1_763_702_345,
  };
}
