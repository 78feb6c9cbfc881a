import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../../src/db/index.ts';
import { createLedger } from '../../../src/ledger/index.ts';
import { createRandom } from '../../e2e/rail-faults/storm/random.ts';
import type { Fault, FaultPlan } from '../plan/faults.ts';
import type { Storm } from '../storm.ts';
import { listBelow } from '../world/processes.ts';

/** Breaks things as planned; resolves when everything it broke for a while is whole again. */
export async function breakThings(
  storm: Storm,
  plan: readonly FaultPlan[],
  signal: AbortSignal,
): Promise<void> {
  const startedAt = performance.now();
  const under: Promise<void>[] = [];
  for (const { at, fault } of plan) {
    await sleep(Math.max(0, startedAt + at - performance.now()), undefined, { signal }).catch(() => {});
    if (signal.aborted) break;
    under.push(breakOne(storm, fault));
  }
  await Promise.all(under);
}

/** Gives every gateway the time that it is, and every rail its health. */
export function mend({ world, counts }: Storm): void {
  world.lab.mend();
  world.door.decide(() => 'pass');
  counts.add('faults: connections to Postgres broken', world.door.broken());
  for (let place = 0; place < world.options.gateways; place += 1) world.fleet.at(place)?.shiftClock(0);
}

/** How long a gateway that is to end is waited for, and for another one beside it. */
const SPARED_MS = 60_000;

async function breakOne(storm: Storm, fault: Fault): Promise<void> {
  const { world, counts } = storm;
  switch (fault.kind) {
    case 'kill-gateway':
    case 'end-gateway':
      if (!(await isSpared(storm, fault.place))) return;
      counts.add(`faults: gateway ${fault.kind === 'kill-gateway' ? 'killed' : 'ended'}`);
      if (fault.kind === 'kill-gateway') return world.fleet.kill(fault.place, fault.downMs);
      return world.fleet.end(fault.place, fault.downMs);
    case 'kill-postgres':
      if (await world.postgres.kill('postmaster')) counts.add('faults: Postgres killed');
      return;
    case 'kill-backend':
      if (await world.postgres.kill('backend')) counts.add('faults: process of Postgres killed');
      return;
    case 'freeze-gateway':
      if (!(await isSpared(storm, fault.place))) return;
      counts.add('faults: gateway stood still');
      return world.fleet.at(fault.place)?.freeze(sleep(fault.forMs));
    case 'freeze-postgres':
      if (await world.postgres.freeze(fault.forMs)) counts.add('faults: Postgres stood still');
      return;
    case 'database':
      return breakLine(storm, fault);
    case 'kill-jail':
      if (killJail(world.fleet.at(fault.place)?.pid, fault.which)) counts.add('faults: jail killed');
      return;
    case 'clock':
      world.fleet.at(fault.place)?.shiftClock(fault.offsetMs);
      counts.add('faults: clock jumped');
      return;
    case 'expire-holds':
      counts.add('faults: holds whose time was up', await expireHolds(world.postgres.sql));
      return;
    case 'rail':
      counts.add(`faults: ${fault.rail} ${fault.fate === 'refuse' ? 'failed before' : 'lost its answer'}`);
      return breakRail(storm, fault);
    default:
      return fault satisfies never;
  }
}

/**
 * As a gateway's job does at any moment; answers how many there were. What a claim holds is the claim's own to end, and
 * lasts longer than its call may.
 */
async function expireHolds(sql: Sql): Promise<number> {
  try {
    await sql`UPDATE ledger_hold SET expires_at = now() - interval '1 second' WHERE state = 'held' AND backing = 'balance'
      AND NOT EXISTS (SELECT FROM payment_claim c WHERE c.id = ledger_hold.id)`;
    return await createLedger({ sql }).expireDue();
  } catch {
    // Postgres may be down at this very moment.
    return 0;
  }
}

/**
 * Whether there is a gateway in this place, and another one lives. On a slow machine starting one takes long, and with
 * none of them the storm would only wait.
 */
async function isSpared({ world }: Storm, place: number): Promise<boolean> {
  const { fleet, options } = world;
  const isEnough = () => fleet.at(place) !== undefined && (options.gateways === 1 || fleet.living() > 1);
  const deadline = performance.now() + SPARED_MS;
  while (!isEnough() && performance.now() < deadline) await sleep(100);
  return isEnough();
}

/** Every word between gateways and database may be the last of its connection, for a while. */
async function breakLine({ world }: Storm, fault: Extract<Fault, { kind: 'database' }>): Promise<void> {
  const random = createRandom(fault.forMs);
  world.door.decide(() => (random.isTrue(fault.chance) ? fault.fate : 'pass'));
  await sleep(fault.forMs);
  world.door.decide(() => 'pass');
}

type RailFault = Extract<Fault, { kind: 'rail' }>;

const STRIPE_OPERATIONS = [
  'payment.create',
  'payment.retrieve',
  'payment.capture',
  'payment.cancel',
] as const;

async function breakRail({ world }: Storm, fault: RailFault): Promise<void> {
  const { rail, fate, chance, forMs, times } = fault;
  if (rail === 'stripe') {
    const operation = STRIPE_OPERATIONS[times % STRIPE_OPERATIONS.length] ?? 'payment.create';
    world.lab.stripe.faults.add({ operation, when: fate === 'refuse' ? 'before' : 'after', times });
    return;
  }
  const door = world.lab.doors[rail];
  const random = createRandom(forMs);
  door?.decide(() => (random.isTrue(chance) ? fate : 'pass'));
  await sleep(forMs);
  door?.decide(() => 'pass');
}

/** Kills one process below a gateway: it has nothing there but what it runs for others, and what compiles our sources. */
function killJail(gateway: number | undefined, which: number): boolean {
  if (gateway === undefined) return false;
  const below = listBelow(gateway);
  const pid = below[which % Math.max(1, below.length)];
  if (pid === undefined) return false;
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}
