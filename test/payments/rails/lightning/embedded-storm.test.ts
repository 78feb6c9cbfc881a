import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Hex } from '../../../../src/core/bytes.ts';
import { startLightning, type TestLightning } from '../../../harness/lightning.ts';
import { waitUntil } from '../../../harness/process.ts';

let lightning: TestLightning;
beforeAll(async () => {
  lightning = await startLightning();
});
afterAll(() => lightning.close());

const signal = () => AbortSignal.timeout(60_000);
const KILLS = 8;
const PER_ROUND = 6;

type Call = { amountMsat: bigint; paymentHash: string; preimage: string; end: 'settle' | 'cancel' };

/** Repeats what may be repeated until the node, which is away at times, has done it. */
function insist<T>(work: () => Promise<T>): Promise<T> {
  return waitUntil(async () => {
    try {
      return { done: await work() };
    } catch (error) {
      if (error instanceof Error && error.name === 'Refusal') throw error;
      return undefined;
    }
  }, 60_000).then(({ done }) => done);
}

/** As payers do whose payment found no way: while the node is away there is none, and that may take long. */
async function payUntil(invoice: string, hasArrived: () => boolean) {
  for (;;) {
    const paid = await lightning.pay(invoice);
    if ('preimage' in paid || hasArrived()) return paid;
    await sleep(100);
  }
}

test('after a storm of holds, settlements, cancellations and kills every millisatoshi is where it belongs', async () => {
  const { node } = lightning;
  const before = { ours: (await node.balance(signal())).msat, theirs: await lightning.agentBalance() };
  const calls: Call[] = [];
  const running: Promise<unknown>[] = [];
  const runCall = async (call: Call) => {
    const { amountMsat, paymentHash, preimage, end } = call;
    const hold = { paymentHash };
    const input = { amountMsat, memo: 'a call', expirySeconds: 600, hold };
    // Minted once: after a lost answer the hash is known.
    const minted = await insist(() => node.createInvoice(input, signal())).catch(() => undefined);
    if (minted === undefined) return;
    calls.push(call);
    let isHeld = false;
    const paying = payUntil(minted.invoice, () => isHeld);
    const lookUp = async () => (await node.lookup(paymentHash, signal())).state === 'held';
    await waitUntil(() => lookUp().catch(() => false), 60_000);
    isHeld = true;
    if (end === 'settle') await insist(() => node.settle({ paymentHash, preimage }, signal()));
    else await insist(() => node.cancel(paymentHash, signal()));
    expect(await paying).toHaveProperty(end === 'settle' ? 'preimage' : 'error');
  };
  for (let kill = 0; kill < KILLS; kill += 1) {
    for (let index = 0; index < PER_ROUND; index += 1) {
      const preimage = randomBytes(32).toString('hex');
      const paymentHash = sha256Hex(Buffer.from(preimage, 'hex'));
      const amountMsat = 1_000n + BigInt(randomBytes(2).readUInt16LE());
      running.push(runCall({ amountMsat, paymentHash, preimage, end: index % 2 ? 'settle' : 'cancel' }));
    }
    await sleep(randomBytes(1).readUInt8());
    await lightning.killNode();
    await lightning.startNode();
  }
  await Promise.all(running);
  expect(calls.length).toBeGreaterThan(KILLS);
  const settled = calls.filter(({ end }) => end === 'settle');
  const sum = settled.reduce((total, { amountMsat }) => total + amountMsat, 0n);
  await waitUntil(async () => (await node.balance(signal())).msat - before.ours === sum);
  await waitUntil(async () => before.theirs - (await lightning.agentBalance()) === sum);
  for (const { paymentHash, amountMsat, end } of calls) {
    const standing = await node.lookup(paymentHash, signal());
    expect(standing).toMatchObject(
      end === 'settle'
        ? { state: 'settled', receivedMsat: amountMsat }
        : { state: 'cancelled', receivedMsat: 0n },
    );
  }
}, 180_000);
