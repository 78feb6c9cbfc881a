import { afterAll, beforeAll, expect, test } from 'vitest';
import { addMs, type Clock } from '../../../src/core/clock.ts';
import { anySignal, authorise, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type EvmLab, startEvmLab } from './evm-lab.ts';

/** This chain's time runs ahead, so it is nobody else's. */
let lab: EvmLab;
let aheadMs = 0;
const clock: Clock = { now: () => addMs(new Date(), aheadMs) };

beforeAll(async () => {
  lab = await startEvmLab();
});
afterAll(() => lab.close());

async function passTime(seconds: number): Promise<void> {
  aheadMs += seconds * 1_000;
  await lab.chain.anvil.rpc('evm_increaseTime', [seconds]);
  await lab.chain.mine(1);
}

test('an unsettled intent is refused as expired only once no final block can take it any more', async () => {
  const rail = lab.rail({ clock });
  const quote = quoteOf();
  const form = await lab.sign(await offerOf(rail, quote));
  const intent = intentOf(await authorise(rail, form, quote));
  await passTime(130);
  // The newest block is too late for it, and could still be undone.
  expect((await rail.lookup(intent, anySignal())).kind).toBe('unknown');
  expect((await rail.settle(intent, anySignal())).kind).toBe('unknown');
  await lab.chain.mine(3);
  const refused = { kind: 'refused', reason: expect.stringContaining('expired'), costs: [] };
  expect(await rail.lookup(intent, anySignal())).toEqual(refused);
  expect(await rail.settle(intent, anySignal())).toEqual(refused);
  expect((await rail.verify(form, quote, anySignal())).kind).toBe('refused');
});

test('a settled intent stays settled after its authorization expired', async () => {
  const rail = lab.rail({ clock });
  const quote = quoteOf();
  const validBefore = BigInt(Math.floor(clock.now().getTime() / 1000) + 120);
  const form = await lab.sign(await offerOf(rail, quote), { validBefore });
  const intent = intentOf(await authorise(rail, form, quote));
  const settled = await rail.settle(intent, anySignal());
  expect(settled.kind).toBe('settled');
  await passTime(200);
  await lab.chain.mine(5);
  expect(await rail.lookup(intent, anySignal())).toEqual({ ...settled, isFinal: true });
});

test('an offer outlasts the run, the settlement and the way to us', async () => {
  const rail = lab.rail({ clock });
  for (const [runTimeoutMs, seconds] of [
    [1, 121],
    [5_000, 125],
    [60_001, 181],
  ] as const) {
    expect(await offerOf(rail, quoteOf({ runTimeoutMs }))).toMatchObject({ timeoutSeconds: seconds });
  }
});
