import { Agent, getGlobalDispatcher, setGlobalDispatcher } from 'undici';
import { expect, test } from 'vitest';
import { anySignal } from '../conformance.ts';
import { hold, startStripeLab } from './lab.ts';

test('Stripe is reached whichever undici has set the dispatcher that fetch uses', async () => {
  const before = getGlobalDispatcher();
  setGlobalDispatcher(new Agent());
  const lab = await startStripeLab();
  try {
    const { rail, intent } = await lab.prepare();
    await hold(rail, intent);
    expect((await rail.settle(intent, anySignal())).kind).toBe('settled');
  } finally {
    await lab.close();
    setGlobalDispatcher(before);
  }
});
