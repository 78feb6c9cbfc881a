import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createGuesses } from '../../src/traffic/guesses.ts';
import { createLimiter, spellLimit, tooMany } from '../../src/traffic/limiter.ts';
import { networkOf } from '../../src/traffic/network.ts';

function start(policy: { perSecond: number; burst: number }, subjectsMax?: number) {
  const clock = { ms: 0 };
  const limiter = createLimiter({
    ...{ name: 'address', policy, nowMs: () => clock.ms },
    ...(subjectsMax === undefined ? {} : { subjectsMax }),
  });
  return { clock, limiter };
}

/** Takes until there is nothing left; how much there was. */
function drain(limiter: { take(subject: string): number }, subject: string): number {
  for (let taken = 0; ; taken += 1) if (limiter.take(subject) < 0) return taken;
}

test('a bucket gives its burst at once and then its rate, for good', () => {
  const { clock, limiter } = start({ perSecond: 10, burst: 5 });
  expect(drain(limiter, 'a')).toBe(5);
  let taken = 0;
  for (; clock.ms < 100_000; clock.ms += 7) if (limiter.take('a') >= 0) taken += 1;
  expect(taken).toBeGreaterThanOrEqual(990);
  expect(taken).toBeLessThanOrEqual(1_000);
});

test('a refused call takes nothing, and is told how long to wait', () => {
  const { clock, limiter } = start({ perSecond: 2, burst: 1 });
  expect(limiter.take('a')).toBe(0);
  for (let again = 0; again < 10; again += 1) expect(limiter.take('a')).toBeCloseTo(-0.5);
  clock.ms = 500;
  expect(limiter.take('a')).toBe(0);
});

test('a clock that goes backwards gives nothing and takes nothing', () => {
  const { clock, limiter } = start({ perSecond: 1_000, burst: 3 });
  clock.ms = 10_000;
  expect(drain(limiter, 'a')).toBe(3);
  clock.ms = 0;
  expect(limiter.take('a')).toBeLessThan(0);
  clock.ms = 10_001;
  expect(limiter.take('a')).toBeGreaterThanOrEqual(0);
});

test('a rate of 0 is no limit and remembers nobody', () => {
  const { limiter } = start({ perSecond: 0, burst: 1 });
  for (let again = 0; again < 1_000; again += 1) expect(limiter.take(`a${again}`)).toBe(1);
  expect(limiter.size()).toBe(0);
  expect(limiter.report(10)).toEqual([]);
});

test('however many addresses one attacker has, his empty bucket is not forgotten and memory is bounded', () => {
  const { limiter } = start({ perSecond: 1, burst: 32 }, 1_000);
  expect(drain(limiter, 'attacker')).toBe(32);
  for (let other = 0; other < 100_000; other += 1) limiter.take(`other-${other}`);
  expect(limiter.size()).toBeLessThanOrEqual(1_000);
  expect(limiter.take('attacker')).toBeLessThan(0);
});

test('when every bucket is in use, newcomers share a few until the others have refilled', () => {
  const { clock, limiter } = start({ perSecond: 1, burst: 32 }, 100);
  for (let subject = 0; subject < 100; subject += 1) drain(limiter, `used-${subject}`);
  let taken = 0;
  for (let subject = 0; subject < 10_000; subject += 1) if (limiter.take(`new-${subject}`) >= 0) taken += 1;
  expect(limiter.size()).toBe(100);
  expect(taken).toBeGreaterThan(256);
  expect(taken).toBeLessThanOrEqual(256 * 32);
  for (let subject = 0; subject < 100; subject += 1) expect(limiter.take(`used-${subject}`)).toBeLessThan(0);
  clock.ms = 32_000;
  for (let subject = 0; subject < 100; subject += 1)
    expect(limiter.take(`late-${subject}`)).toBeGreaterThan(0);
});

test('an IPv6 address counts as its /64, however it is spelled, and IPv4 as itself', () => {
  expect(networkOf('203.0.113.9')).toBe('203.0.113.9');
  expect(networkOf('::ffff:203.0.113.9')).toBe('203.0.113.9');
  const one = networkOf('2001:db8:1:2:3:4:5:6');
  for (const same of ['2001:db8:1:2::1', '2001:0DB8:0001:0002:ffff::', '2001:db8:1:2::203.0.113.9%eth0']) {
    expect(networkOf(same)).toBe(one);
  }
  expect(networkOf('2001:db8:1:3::1')).not.toBe(one);
  expect(networkOf('2001:db8::1')).toBe(networkOf('2001:db8:0:0:9::'));
  expect(networkOf('::1')).toBe(networkOf('::2'));
  expect(networkOf('1::')).not.toBe(networkOf('::1'));
});

test('an address that sent wrong keys waits with unknown ones, and a key known from there goes on', () => {
  const { clock, limiter } = start({ perSecond: 1, burst: 3 });
  const guesses = createGuesses(limiter);
  guesses.noteWrong('nat', 'none');
  guesses.noteRight('nat', 'good');
  // As many at once as there are connections: all of them were asked about before the first answer.
  for (let guess = 0; guess < 2_000; guess += 1) guesses.noteWrong('nat', 'none');
  expect(guesses.waitOf('nat', 'unknown')).toBeGreaterThan(50);
  expect(guesses.waitOf('nat', 'unknown')).toBeLessThanOrEqual(61);
  expect(guesses.waitOf('nat', 'good')).toBe(0);
  expect(guesses.waitOf('elsewhere', 'unknown')).toBe(0);
  clock.ms = 61_000;
  expect(guesses.waitOf('nat', 'unknown')).toBe(0);
});

test('a refusal says when to come again in whole seconds, and what the limit is in structured fields', () => {
  const problem = tooMany({ name: 'key', policy: { perSecond: 10, burst: 25 } }, 0.04);
  expect(problem).toMatchObject({ status: 429, type: 'too-many-requests' });
  expect(problem.options).toMatchObject({ retryAfterSeconds: 1, isUncharged: true });
  expect(problem.options.headers).toEqual([
    ['ratelimit-policy', '"key";q=25;w=3'],
    ['ratelimit', '"key";r=0;t=3'],
  ]);
  expect(spellLimit({ name: 'key', policy: { perSecond: 10, burst: 25 } }, 0.4)[1]).toEqual([
    'ratelimit',
    '"key";r=10;t=2',
  ]);
});

test('who waits as long as a refusal says gets through, whatever the rate and the time', () => {
  fc.assert(
    fc.property(
      fc.record({
        perSecond: fc.integer({ min: 1, max: 100_000 }),
        burst: fc.integer({ min: 1, max: 100_000 }),
      }),
      fc.array(fc.double({ min: 0, max: 5_000, noNaN: true }), { maxLength: 20 }),
      fc.double({ min: 0, max: 1e12, noNaN: true }),
      (policy, pauses, start0) => {
        const { clock, limiter } = start(policy);
        clock.ms = start0;
        for (const pause of pauses) {
          clock.ms += pause;
          drain(limiter, 'a');
          const { retryAfterSeconds = 0 } = tooMany(limiter, limiter.waitOf('a')).options;
          clock.ms += retryAfterSeconds * 1_000;
          expect(limiter.take('a')).toBeGreaterThanOrEqual(0);
        }
      },
    ),
  );
});

const STRUCTURED = /^"[a-z-]+";q=\d+;w=\d+$/;
const LEFT = /^"[a-z-]+";r=\d+;t=\d+$/;

test('the fields are structured fields of whole numbers for every limit, also of fractions and debts', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('key', 'payer', 'address', 'wrong-keys' as const),
      fc.record({ perSecond: fc.integer({ min: 1, max: 100_000 }), burst: fc.integer({ min: 1, max: 1e9 }) }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      (name, policy, share, wait) => {
        const [[, quota = ''] = [], [, left = ''] = []] = spellLimit({ name, policy }, share, wait);
        expect(quota).toMatch(STRUCTURED);
        expect(left).toMatch(LEFT);
        expect(Number(/r=(\d+)/.exec(left)?.[1])).toBeLessThanOrEqual(policy.burst);
      },
    ),
  );
});
