import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createMcpSessions } from '../../../src/http/mcp/sessions.ts';

const START = new Date('2026-01-01T00:00:00Z');
const secrets = [Buffer.alloc(32, 1)];
const at = (now: Date, keys = secrets) => createMcpSessions({ secrets: keys, clock: { now: () => now } });
const SESSION = {
  protocolVersion: '2025-11-25',
  capabilities: { sampling: {}, elicitation: { url: {} } },
  info: { name: 'tests', version: '1' },
};

test('a session id holds what the client said, for any gateway with the secret', () => {
  const id = at(START).issue(SESSION);
  expect(id).toMatch(/^[\x21-\x7e]+$/);
  expect(at(START).open(id)).toEqual(SESSION);
  expect(at(START).issue(SESSION)).not.toBe(id);
});

test('an id that was changed anywhere, or is none of ours, opens nothing', () => {
  const sessions = at(START);
  const id = sessions.issue(SESSION);
  fc.assert(
    fc.property(fc.nat(id.length - 1), fc.constantFrom('A', 'z', '-', '.'), (place, other) => {
      const changed = id.slice(0, place) + other + id.slice(place + 1);
      // The last characters of base64url may carry bits that stand for nothing.
      fc.pre(changed !== id && place < id.length - 2);
      expect(sessions.open(changed)).toBeUndefined();
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(sessions.open(text)).toBeUndefined();
      expect(sessions.open(`m1.${text}`)).toBeUndefined();
    }),
  );
  expect(at(START, [Buffer.alloc(32, 2)]).open(id)).toBeUndefined();
});

test('an id outlives its secret as long as that still opens, and ends after thirty days', () => {
  const id = at(START).issue(SESSION);
  const rotated = [Buffer.alloc(32, 2), ...secrets];
  expect(at(START, rotated).open(id)).toEqual(SESSION);
  const day = (days: number) => new Date(START.getTime() + days * 86_400_000);
  expect(at(day(29.9)).open(id)).toEqual(SESSION);
  expect(at(day(30.1)).open(id)).toBeUndefined();
});

test('whatever a client says of itself, its id stays short and keeps what it can be asked', () => {
  const long = 'x'.repeat(10_000);
  const capabilities = {
    sampling: { long },
    elicitation: { url: { long } },
    roots: { long },
    other: { long },
  };
  const id = at(START).issue({
    ...SESSION,
    capabilities,
    info: { name: long, version: long, title: long, long },
  });
  expect(id.length).toBeLessThan(2_048);
  expect(at(START).open(id)).toMatchObject({
    capabilities: { sampling: {}, elicitation: { url: {} }, roots: {} },
    info: { name: 'x'.repeat(100), version: 'x'.repeat(100) },
  });
});
