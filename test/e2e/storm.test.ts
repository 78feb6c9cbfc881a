import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { type RailLab, startRailLab } from '../harness/rail-lab.ts';
import { hookRuns } from './fault-lab.ts';
import {
  balanceOf,
  type Ending,
  endAttempt,
  expectOneAnswer,
  expectTrueClaims,
  expectTrueSums,
  readHoldings,
  settleDown,
} from './rail-faults/storm/audit.ts';
import { liveAsClient, openShops, openWallets, type World } from './rail-faults/storm/clients.ts';
import { makeTrouble, startFleet } from './rail-faults/storm/fleet.ts';
import { createRandom } from './rail-faults/storm/random.ts';

/** `STORM_SECONDS` makes it longer, `STORM_SEED` makes it choose as it did before. */
const SECONDS = Number(process.env.STORM_SECONDS ?? 15);
const SEED = Number(process.env.STORM_SEED ?? Math.floor(Math.random() * 2 ** 31));
const CLIENTS = 12;
const ASKED_AT_ONCE = 6;
const KEY_MCENTS = 100_000;
/** What starts before it, and what has to come to rest after it. */
const AROUND_MS = 240_000;

let lab: RailLab;
let auditor: TestGateway;

beforeAll(async () => {
  lab = await startRailLab();
}, AROUND_MS);
afterAll(() => lab?.close(), AROUND_MS);

test(
  'after a storm of payments, kills and faults all four rails agree with the ledger to the last unit',
  async () => {
    console.log(`storm: STORM_SEED=${SEED} STORM_SECONDS=${SECONDS}`);
    const random = createRandom(SEED);
    const before = await readHoldings(lab);
    const fleet = await startFleet(lab);
    const first = fleet.at(0);
    if (!first) throw new Error('no gateway has started');
    const shops = await openShops(first);
    const keys = [await first.mint(KEY_MCENTS), await first.mint(KEY_MCENTS)];
    const world: World = { lab, fleet, shops, keys, wallets: await openWallets(lab), attempts: [] };

    const troubles: string[] = [];
    const storm = AbortSignal.timeout(SECONDS * 1_000);
    const clients = Array.from({ length: CLIENTS }, () => liveAsClient(world, random.fork(), storm));
    await Promise.all([
      makeTrouble({ lab, fleet, random: random.fork(), done: troubles }, storm),
      ...clients,
    ]);

    const runs: string[] = [];
    auditor = await lab.start({ change: ({ http }) => hookRuns(http, { runs }) });
    await settleDown(lab, auditor);
    const endings: Ending[] = [];
    for (let done = 0; done < world.attempts.length; done += ASKED_AT_ONCE) {
      const some = world.attempts.slice(done, done + ASKED_AT_ONCE);
      endings.push(...(await Promise.all(some.map((attempt) => endAttempt(auditor, attempt)))));
    }
    await settleDown(lab, auditor);

    for (const ending of endings) expectOneAnswer(ending);
    await expectTrueSums(lab, { gateway: auditor, endings, before });
    await expectTrueClaims(lab, endings);
    await expectTrueKeys(world, endings);
    const counts = fleet.runs();
    for (const label of runs) counts.set(label, (counts.get(label) ?? 0) + 1);
    expect([...counts].filter(([, count]) => count > 1)).toEqual([]);
    console.log(`storm: ${summarise(endings)}; ${fleet.kills()} kills, ${troubles.length} troubles`);
    expect(endings.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
  },
  SECONDS * 1_000 + AROUND_MS,
);

/** Keys hold what was put on them, less what was charged. */
async function expectTrueKeys(world: World, endings: Ending[]): Promise<void> {
  const delivered = endings.filter(({ status }) => status === 200);
  for (const key of world.keys) {
    const charged = delivered.filter(({ attempt }) => attempt.key === key && !attempt.rail).length;
    expect(await balanceOf(auditor, key)).toBe(KEY_MCENTS - charged * 250);
  }
  for (const { attempt, status } of endings.filter((each) => each.attempt.purpose === 'topup')) {
    expect(await balanceOf(auditor, attempt.key)).toBe(status === 200 ? attempt.price : 0);
  }
  for (const { body } of delivered.filter(({ attempt }) => attempt.purpose === 'signup')) {
    expect(await balanceOf(auditor, body?.key)).toBe(10_000);
  }
  for (const { attempt, body } of endings.filter((each) => each.body?.refund_key !== undefined)) {
    expect(await balanceOf(auditor, body?.refund_key)).toBe(attempt.price);
  }
}

function summarise(endings: Ending[]): string {
  const counts = new Map<string, number>();
  for (const { attempt, status, isPaid } of endings) {
    const end = status === 200 ? 'delivered' : isPaid ? 'credit' : 'free';
    const name = `${attempt.rail?.name ?? 'key'} ${attempt.purpose} ${end}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .sort()
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
