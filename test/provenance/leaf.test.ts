import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Problem } from '../../src/core/problem.ts';
import {
  decodeLeaf,
  ENTRY_BYTES_MAX,
  encodeLeaf,
  leafHashOf,
  type PublishLeaf,
} from '../../src/provenance/index.ts';

const LEAF: PublishLeaf = {
  kind: 'publish',
  tool: 'acme/x',
  version: '1.2.3',
  sha256: 'ab'.repeat(32),
  manifest: 'cd'.repeat(32),
  publisher: 'did:web:acme.example',
  time: 1_763_702_345,
};

const ENTRY = `mcp-log/v1 publish
tool acme/x
version 1.2.3
sha256 ${LEAF.sha256}
manifest ${LEAF.manifest}
publisher did:web:acme.example
time 1763702345
`;

const segment = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/);
const hash = fc.stringMatching(/^[0-9a-f]{64}$/);
const leaf: fc.Arbitrary<PublishLeaf> = fc.record({
  kind: fc.constant('publish' as const),
  tool: fc.oneof(
    segment,
    fc.tuple(segment, segment).map(([publisher, name]) => `${publisher}/${name}`),
  ),
  version: fc.stringMatching(
    /^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-[0-9A-Za-z.-]{1,64})?$/,
  ),
  sha256: hash,
  manifest: hash,
  publisher: fc.stringMatching(/^[a-z0-9][a-z0-9:._-]{0,127}$/),
  time: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
});

describe('a leaf', () => {
  it('is spelled line by line in the order of mcp-log/v1', () => {
    expect(encodeLeaf(LEAF).toString()).toBe(ENTRY);
  });

  it('can be hashed with nothing but printf, cat and sha256sum', () => {
    const output = execFileSync('sh', ['-c', "(printf '\\0'; cat) | sha256sum"], { input: encodeLeaf(LEAF) });
    expect(output.toString().split(' ')[0]).toBe(leafHashOf(encodeLeaf(LEAF)).toString('hex'));
  });

  it('is read back as it was written, whatever it says', () => {
    fc.assert(
      fc.property(leaf, (value) => {
        expect(decodeLeaf(encodeLeaf(value))).toEqual(value);
      }),
    );
  });

  it('has exactly one spelling: any byte changed, added or dropped is another leaf or none', () => {
    const entry = encodeLeaf(LEAF);
    fc.assert(
      fc.property(fc.nat(entry.length - 1), fc.nat(255), fc.nat(2), (at, byte, kind) => {
        const changed = Buffer.concat([
          entry.subarray(0, at),
          kind === 0 ? Buffer.alloc(0) : Buffer.of(byte),
          entry.subarray(kind === 1 ? at : at + 1),
        ]);
        const decoded = decodeLeaf(changed);
        if (decoded) expect(encodeLeaf(decoded)).toEqual(changed);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['an empty entry', ''],
    ['another kind', ENTRY.replace('publish', 'yank')],
    ['no last line feed', ENTRY.slice(0, -1)],
    ['one line feed more', `${ENTRY}\n`],
    ['carriage returns', ENTRY.replaceAll('\n', '\r\n')],
    ['fields in another order', ENTRY.replace(/(tool .*\n)(version .*\n)/, '$2$1')],
    ['a field twice', ENTRY.replace(/(tool .*\n)/, '$1$1')],
    ['a field too few', ENTRY.replace(/publisher .*\n/, '')],
    ['a leading zero', ENTRY.replace('time 1', 'time 01')],
    ['two spaces', ENTRY.replace('tool ', 'tool  ')],
    ['capital hex', ENTRY.replace('abab', 'ABAB')],
    ['bytes beyond ASCII', ENTRY.replace('acme/x', 'acmé/x')],
    ['more bytes than the log takes', ENTRY + 'x'.repeat(ENTRY_BYTES_MAX)],
  ])('is not read from %s', (_, text) => {
    expect(decodeLeaf(Buffer.from(text))).toBeUndefined();
  });

  it.each<[string, Partial<PublishLeaf>]>([
    ['tool', { tool: 'Acme/X' }],
    ['tool', { tool: 'acme/x\nversion 9.9.9' }],
    ['tool', { tool: '../x' }],
    ['version', { version: '1.2' }],
    ['version', { version: '01.2.3' }],
    ['sha256', { sha256: 'ab' }],
    ['manifest', { manifest: `${'cd'.repeat(31)}CD` }],
    ['publisher', { publisher: 'a b' }],
    ['time', { time: -1 }],
    ['time', { time: 1.5 }],
    ['time', { time: Number.MAX_SAFE_INTEGER + 1 }],
  ])('with a %s outside the grammar is refused and named: %j', (field, change) => {
    expect(() => encodeLeaf({ ...LEAF, ...change })).toThrow(Problem);
    expect(() => encodeLeaf({ ...LEAF, ...change })).toThrow(`this ${field}`);
  });
});
