import { expect, test } from 'vitest';
import { createLoadGate } from '../../src/traffic/load-gate.ts';

function fill(gate: { enter(kind: 'plain' | 'maybe-paid'): boolean }, kind: 'plain' | 'maybe-paid'): number {
  for (let count = 0; ; count += 1) if (!gate.enter(kind)) return count;
}

test('a crowd of newcomers leaves places for what may be paid already, and probes are always let in', () => {
  const gate = createLoadGate({ inFlightMax: 100, loopDelayMaxMs: 100 });
  expect(fill(gate, 'plain')).toBe(100);
  expect(fill(gate, 'maybe-paid')).toBe(25);
  expect(gate.enter('probe')).toBe(true);
  for (let count = 0; count < 27; count += 1) gate.leave();
  expect(gate.enter('plain')).toBe(true);
});

test('a process that is late twice running lets nobody new in until it is not, however few places are taken', () => {
  const gate = createLoadGate({ inFlightMax: 1_000, loopDelayMaxMs: 100 });
  for (let count = 0; count < 64; count += 1) gate.enter('plain');
  gate.noteDelay(500);
  expect(gate.enter('plain')).toBe(true);
  gate.noteDelay(500);
  expect(gate.enter('plain')).toBe(false);
  expect(gate.enter('maybe-paid')).toBe(true);
  gate.noteDelay(20);
  expect(gate.enter('plain')).toBe(true);
});

test('a late process with next to nothing to do goes on: it is not its callers that keep it', () => {
  const gate = createLoadGate({ inFlightMax: 1_000, loopDelayMaxMs: 100 });
  for (let round = 0; round < 5; round += 1) gate.noteDelay(5_000);
  expect(gate.enter('plain')).toBe(true);
});

test('work whose caller has left keeps its place until it is done', async () => {
  const gate = createLoadGate({ inFlightMax: 10, loopDelayMaxMs: 0 });
  const ends: (() => void)[] = [];
  const running: unknown[] = [];
  for (let count = 0; count < 10; count += 1) {
    gate.enter('plain');
    running.push(gate.work(() => new Promise<void>((end) => ends.push(end))));
    gate.leave();
  }
  expect(gate.inFlight()).toBe(0);
  expect(gate.enter('plain')).toBe(false);
  for (const end of ends) end();
  await Promise.all(running);
  expect(gate.enter('plain')).toBe(true);
  expect(() =>
    gate.work(() => {
      throw new Error('broken');
    }),
  ).toThrow('broken');
  expect(gate.enter('plain')).toBe(true);
});
