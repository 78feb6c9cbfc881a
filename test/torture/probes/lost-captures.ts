import { setTimeout as sleep } from 'node:timers/promises';
import { createRandom } from '../../e2e/rail-faults/storm/random.ts';
import { makeCall } from '../actors/calls.ts';
import { HOT_ACCOUNTS } from '../plan/accounts.ts';
import { planPlainCall } from '../plan/calls.ts';
import type { Storm } from '../storm.ts';

const ROUNDS = 4;
const CALLS = 12;
const RUN_MS = 300;
/** While calls that began together end, a part of what the database answers is lost with its connection. */
const LOST_MS = 1_500;
const LOST_SHARE = 0.3;

/**
 * Calls whose prices are set aside are charged, and the word of that is lost: the gateways ask again, and what they
 * tell is what happened. The rules of all calls judge it.
 */
export async function probeLostCaptures(storm: Storm): Promise<void> {
  const { door, options } = storm.world;
  const rich = storm.model.accounts.filter(({ plan }) => plan.isRich && plan.index >= HOT_ACCOUNTS);
  const random = createRandom(options.seed);
  const before = door.broken();
  for (let round = 0; round < ROUNDS; round += 1) {
    const calls = Array.from({ length: CALLS }, (_, number) => {
      const account = rich[number % rich.length]?.plan.index ?? 0;
      const label = `call ${number} of round ${round} on a broken line`;
      const gateway = number % options.gateways;
      const plain = planPlainCall({ at: 0, label, account, child: undefined, gateway });
      return makeCall(storm, { ...plain, tool: 'moody', runMs: RUN_MS });
    });
    await sleep(RUN_MS);
    door.decide(() => (random.isTrue(LOST_SHARE) ? 'swallow' : 'pass'));
    await sleep(LOST_MS);
    door.decide(() => 'pass');
    await Promise.all(calls);
  }
  storm.counts.add('answers of Postgres lost as calls were charged', door.broken() - before);
}
