import { expect, test } from 'vitest';
import { createSlots, streamParts } from '../../src/http/part-stream.ts';

async function* count(to: number) {
  for (let number = 0; number < to; number += 1) yield Buffer.from([number]);
}

function countEnds() {
  const ends = {
    told: 0,
    onEnd() {
      ends.told += 1;
    },
  };
  return ends;
}

test('a place is given back once, however often, and nobody gets more than there are', () => {
  const slots = createSlots(2);
  const [first, second] = [slots.take(), slots.take()];
  expect(slots.take()).toBeUndefined();
  first?.();
  first?.();
  expect(slots.take()).toBeDefined();
  expect(slots.take()).toBeUndefined();
  second?.();
  expect(slots.take()).toBeDefined();
});

test('every part arrives in order, and the end is told once', async () => {
  const ends = countEnds();
  const stream = streamParts(count(5), { timeoutMs: 10_000, onEnd: ends.onEnd });
  expect(Buffer.from(await new Response(stream).arrayBuffer())).toEqual(Buffer.from([0, 1, 2, 3, 4]));
  expect(ends.told).toBe(1);
});

test('a reader that leaves, a part that cannot be read and a reader that stalls all give the place back', async () => {
  const ends = countEnds();
  const { onEnd } = ends;
  const left = streamParts(count(5), { timeoutMs: 10_000, onEnd }).getReader();
  await left.read();
  await left.cancel();
  expect(ends.told).toBe(1);

  const broken: AsyncIterator<Uint8Array> = { next: () => Promise.reject(new Error('the database is gone')) };
  const failing = new Response(streamParts(broken, { timeoutMs: 10_000, onEnd }));
  await expect(failing.arrayBuffer()).rejects.toThrow('the database is gone');
  expect(ends.told).toBe(2);

  const stalled = streamParts(count(5), { timeoutMs: 20, onEnd }).getReader();
  await stalled.read();
  await expect(stalled.closed).rejects.toThrow('took too long');
  expect(ends.told).toBe(3);
});
