import { expect, test } from 'vitest';
import { createLineSplitter } from '../../src/execution/json-lines.ts';

const split = (chunks: readonly Buffer[]) => {
  const lines: string[] = [];
  const splitter = createLineSplitter((line) => lines.push(line.toString()));
  for (const chunk of chunks) splitter.push(chunk);
  return { lines, pending: splitter.pending() };
};

test('lines are the same whatever the pieces they come in', () => {
  const bytes = Buffer.from('{"a":"é"}\n\n{"b":1}\nrest');
  const whole = split([bytes]);
  expect(whole.lines).toEqual(['{"a":"é"}', '', '{"b":1}']);
  for (const size of [1, 2, 3, 5, 7]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    );
    expect(split(pieces).lines).toEqual(whole.lines);
    expect(split(pieces).pending.first?.toString()).toBe('rest');
  }
});

test('a line that comes byte by byte takes no more memory than a few times itself', () => {
  const splitter = createLineSplitter(() => {});
  const before = process.memoryUsage().heapUsed;
  for (let byte = 0; byte < 2_000_000; byte += 1) splitter.push(Buffer.from([0x7b]));
  // What waits to be collected counts as well: two million Buffers that are kept are over 200 MB.
  const { first, bytes } = splitter.pending();
  expect(bytes).toBe(2_000_000);
  expect(first?.buffer.byteLength).toBeLessThan(8_000_000);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(150_000_000);
});
