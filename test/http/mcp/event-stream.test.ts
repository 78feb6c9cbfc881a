import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createAsks } from '../../../src/http/mcp/asks.ts';
import { openEventStream } from '../../../src/http/mcp/event-stream.ts';
import { createLogLevels, isLoggedAt } from '../../../src/http/mcp/log-levels.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function openStream() {
  const outgoing = {
    destroyed: false,
    destroy: () => {
      outgoing.destroyed = true;
    },
  };
  // All that a stream wants of a request is its socket.
  const stream = openEventStream({ env: { outgoing } } as unknown as Parameters<typeof openEventStream>[0]);
  return { stream, outgoing };
}

const note = (data: string) => ({ jsonrpc: '2.0', method: 'notifications/message', params: { data } });

test('messages come in order with the last one at the end', async () => {
  const { stream, outgoing } = openStream();
  stream.send(note('one'));
  stream.send(note('two\nlines'));
  stream.end({ jsonrpc: '2.0', id: 1, result: {} });
  stream.send(note('late'));
  const text = await stream.response.text();
  const data = [...text.matchAll(/^data: (.*)$/gm)].map(([, json = '']) => JSON.parse(json));
  expect(data).toEqual([note('one'), note('two\nlines'), { jsonrpc: '2.0', id: 1, result: {} }]);
  expect(outgoing.destroyed).toBe(false);
});

test('a reader that takes nothing for half a minute is cut off', async () => {
  const { stream, outgoing } = openStream();
  stream.send(note('never read'));
  await vi.advanceTimersByTimeAsync(29_000);
  expect(outgoing.destroyed).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(outgoing.destroyed).toBe(true);
});

test('a reader that takes the last message and never ends is cut off as well', async () => {
  const { stream, outgoing } = openStream();
  const reader = stream.response.body?.getReader();
  stream.end({ jsonrpc: '2.0', id: 1, result: {} });
  await reader?.read();
  await vi.advanceTimersByTimeAsync(119_000);
  expect(outgoing.destroyed).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(outgoing.destroyed).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

test('a stream that was read to its end leaves no timer behind', async () => {
  const { stream, outgoing } = openStream();
  stream.send(note('one'));
  stream.end({ jsonrpc: '2.0', id: 1, result: {} });
  await stream.response.text();
  expect([outgoing.destroyed, vi.getTimerCount()]).toEqual([false, 0]);
});

test('a reader for whom more than a megabyte waits is cut off', () => {
  const { stream, outgoing } = openStream();
  const large = 'x'.repeat(300_000);
  for (let count = 0; count < 3; count += 1) stream.send(note(large));
  expect(outgoing.destroyed).toBe(false);
  stream.send(note(large));
  expect(outgoing.destroyed).toBe(true);
});

test('a stream on which nothing happens is kept alive', async () => {
  const { stream } = openStream();
  const reader = stream.response.body?.getReader();
  const reading = reader?.read();
  await vi.advanceTimersByTimeAsync(15_000);
  expect(Buffer.from((await reading)?.value ?? []).toString()).toBe(': waiting\n\n');
});

test('a question is answered under its own id alone, and given up with its call', async () => {
  const asks = createAsks({ waitingMax: 2 });
  const sent: { id?: unknown }[] = [];
  const over = new AbortController();
  const question = { method: 'roots/list', params: {} };
  const ask = () => asks.ask(question, (message) => sent.push(message), over.signal);
  const [first, second] = [ask(), ask()];
  expect(await ask()).toMatchObject({ error: { message: expect.stringContaining('Too many') } });
  asks.settle('ask-guessed', { result: { roots: ['stolen'] } });
  asks.settle(String(sent[1]?.id), { result: { roots: [] } });
  expect(await second).toEqual({ result: { roots: [] } });
  over.abort();
  expect(await first).toMatchObject({ error: { message: expect.stringContaining('in time') } });
  expect(await ask()).toMatchObject({ error: {} });
  expect(String(sent[0]?.id).length).toBeGreaterThan(24);
});

test('log levels of as many sessions as fit are remembered, the last said first', () => {
  const levels = createLogLevels({ sessionsMax: 2 });
  levels.set('a', 'error');
  levels.set('b', 'debug');
  levels.set('a', 'info');
  levels.set('c', 'alert');
  expect(['a', 'b', 'c'].map(levels.get)).toEqual(['info', undefined, 'alert']);
  expect(isLoggedAt('warning', 'info')).toBe(false);
  expect(isLoggedAt('warning', 'error')).toBe(true);
});
