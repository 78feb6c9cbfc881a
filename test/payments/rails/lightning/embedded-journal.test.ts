import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Hex } from '../../../../src/core/bytes.ts';
import { toTxid } from '../../../../src/payments/rails/lightning/embedded/block.ts';
import { openChain } from '../../../../src/payments/rails/lightning/embedded/chain.ts';
import { openJournal } from '../../../../src/payments/rails/lightning/embedded/journal.ts';
import { openNode } from '../../../../src/payments/rails/lightning/embedded/node.ts';
import { startLightning, type TestLightning } from '../../../harness/lightning.ts';
import { startBadPayer } from '../../../harness/lightning-payer.ts';
import { waitUntil } from '../../../harness/process.ts';

let lightning: TestLightning;
const folder = mkdtempSync(join(tmpdir(), 'millicent-journal-'));

beforeAll(async () => {
  lightning = await startLightning();
});
afterAll(async () => {
  await lightning.close();
  rmSync(folder, { recursive: true, force: true });
});

const signal = () => AbortSignal.timeout(60_000);
const nowSeconds = () => Math.floor(Date.now() / 1000);
const INVOICE = { amountMsat: 1_500n, memo: 'a call', expirySeconds: 600 };

/** Every kind of change there is, on two channels. */
async function makeHistory(): Promise<void> {
  const payer = await startBadPayer(lightning.gatewayFolder);
  const plain = await lightning.node.createInvoice(INVOICE, signal());
  await payer.send(plain.invoice, INVOICE.amountMsat);
  for (const end of ['settle', 'cancel']) {
    const preimage = randomBytes(32).toString('hex');
    const paymentHash = sha256Hex(Buffer.from(preimage, 'hex'));
    const held = await lightning.node.createInvoice({ ...INVOICE, hold: { paymentHash } }, signal());
    const paying = lightning.pay(held.invoice);
    await waitUntil(async () => (await lightning.node.lookup(paymentHash, signal())).state === 'held');
    if (end === 'settle') await lightning.node.settle({ paymentHash, preimage }, signal());
    else await lightning.node.cancel(paymentHash, signal());
    await paying;
  }
  const payout = await lightning.agentNode.createInvoice(INVOICE, signal());
  await lightning.node.pay({ invoice: payout.invoice, feeMaxMsat: 0n, timeoutMs: 20_000 }, signal());
  await payer.close();
}

/** Where each commit of a journal ends: a length, a checksum, and that many bytes. */
function findEnds(journal: Buffer): number[] {
  const ends: number[] = [];
  for (let at = 0; at < journal.length; ) {
    at += 12 + journal.readUInt32LE(at);
    ends.push(at);
  }
  return ends;
}

test('a node can be started from every commit that a crash may have left as the last', async () => {
  await makeHistory();
  await lightning.killNode();
  const journal = readFileSync(join(lightning.gatewayFolder, 'journal'));
  const ends = findEnds(journal);
  expect(ends.length).toBeGreaterThan(20);
  const causes: unknown[] = [];
  let channels = 0;
  for (const end of ends) {
    for (const name of ['chain', 'seed']) cpSync(join(lightning.gatewayFolder, name), join(folder, name));
    writeFileSync(join(folder, 'journal'), journal.subarray(0, end));
    const chain = openChain({ path: join(folder, 'chain'), nowSeconds });
    const node = await openNode({ folder, chain, nowSeconds, fail: (cause) => causes.push(cause) });
    await node.commit();
    const count = node.parts.manager.list_channels().length;
    expect(count).toBeGreaterThanOrEqual(channels);
    channels = count;
    node.close();
  }
  expect(causes).toEqual([]);
  expect(channels).toBe(2);
  await lightning.startNode();
});

test('the chain knows every channel by the transaction that funds it', async () => {
  const path = join(folder, 'known');
  cpSync(join(lightning.gatewayFolder, 'chain'), path);
  const chain = openChain({ path, nowSeconds });
  const mined = chain.blocksAfter(0).flatMap(({ transactions }) => transactions.map(toTxid));
  cpSync(join(lightning.gatewayFolder, 'journal'), join(folder, 'known-journal'));
  const journal = openJournal(join(folder, 'known-journal'));
  journal.close();
  // A funding outpoint is the transaction's id and the index of its output.
  const funding = [...journal.kept.monitors.keys()].map((outpoint) => outpoint.slice(0, 64));
  expect(funding).toHaveLength(2);
  for (const id of funding) expect(mined.map((txid) => txid.toString('hex'))).toContain(id);
});

test('half a commit is cut off, and what stands before it remains', () => {
  const path = join(folder, 'cut');
  const journal = openJournal(path);
  journal.append({ manager: new Uint8Array([1]), monitors: [], entries: ['first'] });
  const whole = statSync(path).size;
  journal.append({ manager: new Uint8Array([2]), monitors: [], entries: ['second'] });
  const bytes = statSync(path).size;
  journal.close();
  for (let size = whole; size < bytes; size += 1) {
    const again = join(folder, 'again');
    cpSync(path, again);
    truncateSync(again, size);
    const kept = openJournal(again);
    kept.close();
    expect(kept.kept.entries).toEqual(['first']);
    expect(kept.kept.manager).toEqual(new Uint8Array([1]));
    expect(statSync(again).size).toBe(whole);
  }
});

test('a rewritten journal says what it said, and takes further commits', () => {
  const path = join(folder, 'rewritten');
  const journal = openJournal(path);
  const channel = 'ab'.repeat(34);
  const bytes = (value: number) => new Uint8Array([value]);
  journal.append({ monitors: [{ channel, kind: 'whole', bytes: bytes(1) }], entries: ['old'] });
  journal.append({ monitors: [{ channel, kind: 'update', bytes: bytes(2) }], entries: [] });
  journal.rewrite({ manager: bytes(9), entries: ['new'] });
  expect(journal.grown()).toBe(0);
  journal.append({ monitors: [{ channel, kind: 'update', bytes: bytes(3) }], entries: [] });
  journal.close();
  const { kept, close } = openJournal(path);
  close();
  expect(kept.manager).toEqual(bytes(9));
  expect(kept.monitors.get(channel)).toEqual({ whole: bytes(1), updates: [bytes(2), bytes(3)] });
  expect(kept.entries).toEqual(['new']);
});

test('a chain whose last line was cut short goes on from the block before', () => {
  const path = join(folder, 'short');
  const chain = openChain({ path, nowSeconds });
  chain.mine(1);
  const height = chain.height();
  appendFileSync(path, '00000020aabb');
  const again = openChain({ path, nowSeconds });
  expect(again.height()).toBe(height);
  again.mine(1);
  expect(openChain({ path, nowSeconds }).height()).toBe(height + 1);
});
