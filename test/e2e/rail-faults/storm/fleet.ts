import { setTimeout as sleep } from 'node:timers/promises';
import type { HaltingGateway } from '../../../harness/halting-gateway.ts';
import type { RailLab } from '../../../harness/rail-lab.ts';
import type { Random } from './random.ts';

/** Two places for gateways, each of which may be empty for a while after a kill. */
export type Fleet = {
  /** The gateway at one of the two places; none while it is being started again. */
  at(place: 0 | 1): HaltingGateway | undefined;
  /** SIGKILL, and another one in its place. */
  kill(place: 0 | 1): Promise<void>;
  kills(): number;
  /** How often the tool ran for each label, in gateways that live and in those that do not. */
  runs(): Map<string, number>;
};

/** Shorter than what is broken for a while, so that many an outcome is unknown to the request that waits for it. */
const SHORT_WAITS = { settleTimeoutMs: 700, outcomeWaitMs: 1_500 };

export async function startFleet(lab: RailLab): Promise<Fleet> {
  const everybody: HaltingGateway[] = [];
  const places: (HaltingGateway | undefined)[] = [undefined, undefined];
  let kills = 0;
  const start = async (place: 0 | 1) => {
    const gateway = await lab.startHalting({ waits: SHORT_WAITS });
    everybody.push(gateway);
    places[place] = gateway;
  };
  // One after the other: the first one notes what the rails held before.
  await start(0);
  await start(1);
  return {
    at: (place) => places[place],
    async kill(place) {
      const gateway = places[place];
      if (!gateway) return;
      places[place] = undefined;
      kills += 1;
      await gateway.kill();
      await start(place);
    },
    kills: () => kills,
    runs() {
      const counts = new Map<string, number>();
      for (const { label } of everybody.flatMap(({ runs }) => runs)) {
        counts.set(label, (counts.get(label) ?? 0) + 1);
      }
      return counts;
    },
  };
}

/** Breaks one thing after the other until told to stop; what it broke is whole again then. */
export async function makeTrouble(
  input: { lab: RailLab; fleet: Fleet; random: Random; done: string[] },
  signal: AbortSignal,
): Promise<void> {
  const { lab, random, done } = input;
  const troubles = listTroubles(input, signal);
  const restarts: Promise<void>[] = [];
  while (!signal.aborted) {
    await pause(random.between(200, 900), signal);
    if (signal.aborted) break;
    const [name, work] = random.pick(troubles);
    done.push(name);
    const over = work();
    if (name.startsWith('kill')) restarts.push(over);
    else await over;
  }
  lab.mend();
  await Promise.all(restarts);
}

type Trouble = [name: string, work: () => Promise<void>];

function listTroubles(
  { lab, fleet, random }: { lab: RailLab; fleet: Fleet; random: Random },
  signal: AbortSignal,
): Trouble[] {
  const { doors, anvil, tempo, stripe, lightning } = lab;
  const aWhile = () => pause(random.between(200, 1_200), signal);
  const chain = (name: 'evm' | 'tempo', fate: 'refuse' | 'swallow' | 'trouble'): Trouble => [
    `${name} ${fate}`,
    async () => {
      const chance = random.pick([0.3, 1]);
      doors[name]?.decide(() => (random.isTrue(chance) ? fate : 'pass'));
      await aWhile();
      doors[name]?.decide(() => 'pass');
    },
  ];
  const node = (fate: 'refuse' | 'swallow'): Trouble => [
    `lightning ${fate}`,
    async () => {
      doors.lightning?.decide(() => (random.isTrue(0.6) ? fate : 'pass'));
      await aWhile();
      doors.lightning?.decide(() => 'pass');
    },
  ];
  const still = (name: string, { rpc }: Pick<typeof anvil, 'rpc'>): Trouble => [
    `${name} mines nothing`,
    async () => {
      await rpc('evm_setAutomine', [false]);
      await aWhile();
      await rpc('evm_setAutomine', [true]);
      await rpc('evm_mine');
    },
  ];
  const operations = ['payment.create', 'payment.retrieve', 'payment.capture', 'payment.cancel'] as const;
  const card: Trouble = [
    'stripe',
    async () => {
      const [operation, when] = [random.pick(operations), random.pick(['before', 'after'] as const)];
      // Without one the connection breaks.
      const status = random.pick([0, 500, 429]);
      stripe.faults.add({
        operation,
        when,
        times: random.between(1, 8),
        ...(status === 0 ? {} : { status }),
      });
    },
  ];
  const reorg: Trouble = [
    'evm reorg',
    async () => {
      await anvil.rpc('anvil_reorg', [random.between(1, 2), []]);
    },
  ];
  let restarted = false;
  const restart: Trouble = [
    'lightning node killed',
    async () => {
      if (restarted) return;
      restarted = true;
      await lightning.killNode();
      await lightning.startNode();
    },
  ];
  return [
    ...(['refuse', 'swallow', 'trouble'] as const).flatMap((fate) => [
      chain('evm', fate),
      chain('tempo', fate),
    ]),
    ...[node('refuse'), node('swallow'), card, card, card, card],
    ...[still('evm', anvil), still('tempo', tempo), reorg, restart],
    ...([0, 1, 0, 1] as const).map((place): Trouble => [`kill ${place}`, () => fleet.kill(place)]),
  ];
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
