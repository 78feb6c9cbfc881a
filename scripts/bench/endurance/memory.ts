import { setTimeout as sleep } from 'node:timers/promises';
import { readResidentBytes } from '../http/process-cpu.ts';
import type { Plan } from '../plan.ts';
import type { Measured } from '../targets.ts';
import type { Endurance } from './endurance-rows.ts';

/** As many as there are keys, so that the first calls are few. */
const FIRST_CONNECTIONS = 32;
const CONNECTIONS = 64;
/** What was freed is given back by then. */
const REST_MS = 2_000;
const MEGABYTE = 1_048_576;

/** Resident memory after the last call over that after the first ones, and what it was in between. */
export async function measureMemory(
  { paid, payUntil }: Endurance,
  { memoryCalls: { first, last } }: Plan,
): Promise<Omit<Measured, 'row'>> {
  const read = async () => {
    await sleep(REST_MS);
    return { calls: paid.acknowledged(), bytes: readResidentBytes(paid.gateway.pid) };
  };
  await payUntil(first, FIRST_CONNECTIONS);
  const start = await read();
  const readings: (typeof start)[] = [];
  for (let tenth = 1; tenth <= 10; tenth++) {
    await payUntil(first + Math.ceil(((last - first) * tenth) / 10), CONNECTIONS);
    readings.push(await read());
  }
  const ratios = readings.map(({ bytes }) => bytes / start.bytes);
  const end = readings.at(-1) ?? start;
  return {
    measured: { median: end.bytes / start.bytes, min: Math.min(...ratios), max: Math.max(...ratios) },
    ours: spell(end),
    peer: spell(start),
  };
}

function spell({ calls, bytes }: { calls: number; bytes: number }): string {
  return `${Math.round(bytes / MEGABYTE)} MB after ${calls.toLocaleString('en')}`;
}
