import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Problem } from '../../src/core/problem.ts';
import {
  decodeLeaf,
  dedupKeyOf,
  ENTRY_BYTES_MAX,
  encodeLeaf,
  type Leaf,
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
    ['no known kind', ENTRY.replace('publish', 'toString')],
    ['another version of the grammar', ENTRY.replace('/v1', '/v2')],
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

const OTHERS: readonly { leaf: Leaf; text: string; dedupKey: string }[] = [
  {
    leaf: { kind: 'yank', tool: 'acme/x', version: '1.2.3', publisher: 'acme', time: 7 },
    text: 'mcp-log/v1 yank\ntool acme/x\nversion 1.2.3\npublisher acme\ntime 7\n',
    dedupKey: 'yank acme/x 1.2.3',
  },
  {
    leaf: { kind: 'transfer', tool: 'acme/x', from: 'acme', to: 'other', time: 7 },
    text: 'mcp-log/v1 transfer\ntool acme/x\nfrom acme\nto other\ntime 7\n',
    dedupKey: 'transfer acme/x acme other 7',
  },
  {
    leaf: {
      ...{ kind: 'key-add', publisher: 'acme', format: 'ssh', key: 'SHA256:ab+/', public: 'AAECAw==' },
      ...{ expires: 0, time: 7 },
    },
    text: 'mcp-log/v1 key-add\npublisher acme\nformat ssh\nkey SHA256:ab+/\npublic AAECAw==\nexpires 0\ntime 7\n',
    dedupKey: 'key-add acme SHA256:ab+/',
  },
  {
    leaf: { kind: 'key-revoke', publisher: 'acme', format: 'openpgp', key: 'ABCDEF', time: 7 },
    text: 'mcp-log/v1 key-revoke\npublisher acme\nformat openpgp\nkey ABCDEF\ntime 7\n',
    dedupKey: 'key-revoke acme ABCDEF',
  },
  {
    leaf: {
      ...{
        kind: 'anchor-contract',
        log: 'versions',
        chain: 84532,
        contract: `0x${'ab'.repeat(20)}`,
        time: 7,
      },
    },
    text: `mcp-log/v1 anchor-contract\nlog versions\nchain 84532\ncontract 0x${'ab'.repeat(20)}\ntime 7\n`,
    dedupKey: `anchor-contract versions 84532 0x${'ab'.repeat(20)}`,
  },
];

describe('a leaf of every other kind', () => {
  it.each(OTHERS)(
    '$leaf.kind is spelled, read back and kept once by what it says',
    ({ leaf, text, dedupKey }) => {
      expect(encodeLeaf(leaf).toString()).toBe(text);
      expect(decodeLeaf(Buffer.from(text))).toEqual(leaf);
      expect(dedupKeyOf(leaf)).toBe(dedupKey);
    },
  );

  it.each(OTHERS)('$leaf.kind has exactly one spelling', ({ text }) => {
    const entry = Buffer.from(text);
    const property = fc.property(fc.nat(entry.length - 1), fc.nat(255), fc.nat(2), (at, byte, kind) => {
      const changed = Buffer.concat([
        entry.subarray(0, at),
        kind === 0 ? Buffer.alloc(0) : Buffer.of(byte),
        entry.subarray(kind === 1 ? at : at + 1),
      ]);
      const decoded = decodeLeaf(changed);
      if (decoded) expect(encodeLeaf(decoded)).toEqual(changed);
    });
    fc.assert(property, { numRuns: 500 });
  });

  it.each<[string, Leaf]>([
    ['format', { kind: 'key-revoke', publisher: 'acme', format: 'pgp', key: 'AB', time: 7 }],
    ['key', { kind: 'key-revoke', publisher: 'acme', format: 'ssh', key: 'A B', time: 7 }],
    ['to', { kind: 'transfer', tool: 'acme/x', from: 'acme', to: 'a\nb', time: 7 }],
    [
      'public',
      { kind: 'key-add', publisher: 'a', format: 'ssh', key: 'A', public: 'AB==', expires: 0, time: 7 },
    ],
    [
      'public',
      {
        kind: 'key-add',
        publisher: 'a',
        format: 'ssh',
        key: 'A',
        public: 'A'.repeat(65_536),
        expires: 0,
        time: 7,
      },
    ],
    [
      'chain',
      { kind: 'anchor-contract', log: 'versions', chain: 0, contract: `0x${'ab'.repeat(20)}`, time: 7 },
    ],
    ['log', { kind: 'anchor-contract', log: 'other', chain: 1, contract: `0x${'ab'.repeat(20)}`, time: 7 }],
    [
      'contract',
      { kind: 'anchor-contract', log: 'versions', chain: 1, contract: `0x${'AB'.repeat(20)}`, time: 7 },
    ],
  ])('with a %s outside the grammar is refused and named', (field, leaf) => {
    expect(() => encodeLeaf(leaf)).toThrow(`this ${field}`);
  });
});
