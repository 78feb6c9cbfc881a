import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compareVersions, isVersionNumber } from '../../src/catalog/version-number.ts';

/** The orders that Semantic Versioning 2.0.0 gives as examples in section 11, and where they meet its limits. */
const ASCENDING = [
  ...['0.0.0', '0.0.1', '0.1.0', '1.0.0-0', '1.0.0-9', '1.0.0-10', '1.0.0-99999999999999999999'],
  ...['1.0.0-100000000000000000000', '1.0.0--', '1.0.0-0a', '1.0.0-A', '1.0.0-alpha', '1.0.0-alpha.1'],
  ...['1.0.0-alpha.beta', '1.0.0-beta', '1.0.0-beta.2', '1.0.0-beta.11', '1.0.0-rc.1', '1.0.0', '2.0.0'],
  ...['2.1.0', '2.1.1', '2.1.10', '2.9.0', '2.10.0', '10.0.0', '999999999.999999999.999999999'],
];

const number = fc.nat({ max: 999_999_999 }).map(String);
const identifier = fc.oneof(
  fc.bigInt(0n, 10n ** 20n).map(String),
  fc.stringMatching(/^[0-9A-Za-z-]{0,6}[A-Za-z-][0-9A-Za-z-]{0,6}$/),
);
const build = fc.stringMatching(/^[0-9A-Za-z-]{1,8}$/);
const version = fc
  .tuple(
    fc.tuple(number, number, number),
    fc.array(identifier, { maxLength: 2 }),
    fc.array(build, { maxLength: 1 }),
  )
  .map(
    ([core, prerelease, [metadata]]) =>
      `${core.join('.')}${prerelease.length > 0 ? `-${prerelease.join('.')}` : ''}${metadata ? `+${metadata}` : ''}`,
  )
  .filter((text) => text.length <= 64);
/** Few enough different ones that equals and near equals are compared, too. */
const close = fc.oneof(version, fc.constantFrom(...ASCENDING, '1.0.0+a', '1.0.0-rc.1+b'));

it('the order of versions is that of Semantic Versioning, also beyond what a double holds', () => {
  const compared = ASCENDING.flatMap((a, i) =>
    ASCENDING.map((b, j) => [a, b, Math.sign(compareVersions(a, b)), Math.sign(i - j)] as const),
  );
  expect(compared.filter(([, , found, expected]) => found !== expected)).toEqual([]);
});

it('every version that the grammar makes is one, and its build metadata moves it nowhere', () => {
  fc.assert(
    fc.property(version, build, (text, metadata) => {
      expect(isVersionNumber(text)).toBe(true);
      const [bare = ''] = text.split('+');
      expect(compareVersions(bare, `${bare}+${metadata}`)).toBe(0);
    }),
  );
});

it('of two versions one comes first, whichever way round they are compared', () => {
  fc.assert(
    fc.property(close, close, (a, b) => {
      expect(Math.sign(compareVersions(a, b)) + Math.sign(compareVersions(b, a))).toBe(0);
      const isSame = a.split('+')[0] === b.split('+')[0];
      expect(compareVersions(a, b) === 0).toBe(isSame);
    }),
  );
});

it('what comes after a second, which comes after a third, comes after the third', () => {
  fc.assert(
    fc.property(close, close, close, (...three) => {
      const [a, b, c] = three.sort(compareVersions);
      expect(compareVersions(a ?? '', b ?? '')).toBeLessThanOrEqual(0);
      expect(compareVersions(b ?? '', c ?? '')).toBeLessThanOrEqual(0);
      expect(compareVersions(a ?? '', c ?? '')).toBeLessThanOrEqual(0);
    }),
  );
});

it.each([
  ...['', '1', '1.0', '1.0.0.0', 'v1.0.0', '=1.0.0', '^1.0.0', '1.x.0', '*', 'latest', ' 1.0.0', '1.0.0\n'],
  ...['01.0.0', '1.00.0', '1.0.0-01', '1.0.0-', '1.0.0+', '1.0.0-a..b', '1.0.0-a_b', '1.0.0-é', '-1.0.0'],
  ...['1000000000.0.0', '1e3.0.0', '１.0.0', `1.0.0-${'a'.repeat(59)}`],
])('%j is no exact version', (text) => {
  expect(isVersionNumber(text)).toBe(false);
});
