import { afterAll, beforeAll, expect, test } from 'vitest';
import { addMs, type Clock } from '../../../../src/core/clock.ts';
import { anySignal, authorise, intentOf, offerOf, quoteOf } from '../conformance.ts';
import { startTempoLab, type TempoLab } from './lab.ts';
import { inSeconds, toSentForm } from './sign.ts';

/** This chain's time runs ahead, so it is nobody else's. */
let lab: TempoLab;
let aheadMs = 0;
const clock: Clock = { now: () => addMs(new Date(), aheadMs) };
const ahead = (seconds: number): number => inSeconds(seconds) + aheadMs / 1_000;

beforeAll(async () => {
  lab = await startTempoLab();
});
afterAll(() => lab.close());

async function passTime(seconds: number): Promise<void> {
  aheadMs += seconds * 1_000;
  await lab.tempo.rpc('evm_increaseTime', [seconds]);
  await lab.mine(1);
}

test('a transaction that was not sent is refused as expired once no final block can take it any more', async () => {
  const rail = lab.rail({ clock });
  const quote = quoteOf();
  const form = lab.sign(await offerOf(rail, quote), { validBefore: ahead(25) });
  const intent = intentOf(await authorise(rail, form, quote));
  await passTime(60);
  // The newest block is too late for it, and could still be undone.
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  expect((await lab.rail({ clock, settleMs: 500 }).settle(intent, anySignal())).kind).toBe('unknown');
  const refusal = await rail.verify(form, quote, anySignal());
  expect(refusal).toMatchObject({ kind: 'refused', reason: expect.stringContaining('expires too soon') });
  await lab.mine(3);
  const refused = { kind: 'refused', reason: 'The transaction expired before it was mined.' };
  expect(await rail.lookup(intent, anySignal())).toEqual(refused);
  expect(await rail.settle(intent, anySignal())).toEqual(refused);
  expect((await rail.verify(form, quote, anySignal())).kind).toBe('refused');
});

test('a node that lags behind the one that tells the time does not make a payment expire', async () => {
  const rail = lab.rail({ clock });
  const quote = quoteOf();
  const form = lab.sign(await offerOf(rail, quote), { validBefore: ahead(25) });
  const intent = intentOf(await authorise(rail, form, quote));
  // Final, and five seconds late: the node with the receipts may not be there yet.
  await passTime(30);
  await lab.mine(3);
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  await passTime(10);
  await lab.mine(3);
  expect((await rail.lookup(intent, anySignal())).kind).toBe('refused');
});

test('a payment that settled stays settled after its transaction expired, whichever way it is shown', async () => {
  const rail = lab.rail({ clock });
  const quote = quoteOf();
  const form = lab.sign(await offerOf(rail, quote), { validBefore: ahead(25) });
  const intent = intentOf(await authorise(rail, form, quote));
  expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
  await passTime(3_600);
  await lab.mine(3);
  expect(await rail.lookup(intent, anySignal())).toMatchObject({ kind: 'settled', isFinal: true });
  expect((await rail.verify(form, quote, anySignal())).kind).toBe('spent');
  expect((await rail.verify(toSentForm(form), quote, anySignal())).kind).toBe('authorised');
});
