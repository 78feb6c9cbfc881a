import { sendPayment } from '../actors/payments.ts';
import type { Storm } from '../storm.ts';
import { payAtRest, walletsOf } from './at-rest.ts';

const PATIENCE_MS = 30_000;

/** A chain takes back the block of a payment that was answered: it is sent once more, and the sums of the rails agree. */
export async function probeReorg(storm: Storm): Promise<void> {
  const [wallet] = walletsOf(storm, ['evm']);
  const { anvil } = storm.world.lab;
  const attempt =
    wallet && (await payAtRest(storm, wallet, { label: 'a payment whose block is taken back' }));
  if (!attempt) return;
  // What came before is deeper than what is taken back.
  await anvil.rpc('anvil_mine', ['0x5']);
  await sendPayment(storm, attempt, { place: 0, plan: { patienceMs: PATIENCE_MS } });
  if (attempt.answers.at(-1)?.status !== 200) return;
  await anvil.rpc('anvil_reorg', [1, []]);
  storm.counts.add('blocks taken back');
}
