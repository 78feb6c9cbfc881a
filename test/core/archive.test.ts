import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { archiveHash, readArchive, writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { Problem } from '../../src/core/problem.ts';

const LONG_DIRECTORY = `${'d'.repeat(60)}/${'e'.repeat(60)}/${'f'.repeat(33)}`;

const SAMPLES: Record<string, Record<string, string | Uint8Array>> = {
  'one file': { 'server.py': 'print("hello")\n' },
  'no file': {},
  'an empty file and one of exactly a block': { empty: '', block: 'x'.repeat(512), over: 'x'.repeat(513) },
  'names whose order depends on bytes': {
    'a/b': '1',
    'a.txt': '2',
    B: '3',
    'a-b': '4',
    'é.txt': '5',
    日本: '6',
  },
  'a name of exactly 100 bytes': { ['n'.repeat(100)]: 'x', [`${'d'.repeat(50)}/${'n'.repeat(49)}`]: 'y' },
  'a name that needs the prefix': { [`${'d'.repeat(60)}/${'n'.repeat(60)}`]: 'x' },
  'the longest prefix and the longest name': { [`${LONG_DIRECTORY}/${'n'.repeat(100)}`]: 'x' },
  'more than one record': { big: Buffer.alloc(30_001, 7), small: 'x' },
  'a name with blanks, quotes and a dash in front': { '-x "y" \'z\'.txt': 'x' },
};

describe('the archive of a tool', () => {
  test.each(Object.entries(SAMPLES))('is the same bytes as GNU tar writes: %s', (_, sample) => {
    const files = toFiles(sample);
    expect(writeArchive(files).equals(runTar(files))).toBe(true);
  });

  test('does not depend on the order in which files are given', () => {
    const entries = Object.entries(SAMPLES['names whose order depends on bytes'] ?? {});
    expect(archiveHash(toFiles(Object.fromEntries(entries)))).toBe(
      archiveHash(toFiles(Object.fromEntries(entries.reverse()))),
    );
  });

  test('is named by the SHA-256 of its bytes, which never changes between releases', () => {
    const files = toFiles({ 'server.py': 'print("hello")\n' });
    expect(archiveHash(files)).toBe(sha256Hex(writeArchive(files)));
    expect(archiveHash(files)).toBe('0226e262ba14593388e76447c3ca883ce73cc3d57edab89daf57056dcb595b36');
  });

  test('gives back exactly the files that went in, whatever they hold', () => {
    const segment = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..');
    const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));
    const short = path.filter((text) => Buffer.byteLength(text) <= 100);
    const files = fc.array(fc.tuple(short, fc.uint8Array({ maxLength: 1500 })), { maxLength: 8 });
    fc.assert(
      fc.property(files, (entries) => {
        const given = new Map(entries);
        const read = readArchive(writeArchive(given));
        expect([...read.keys()].sort()).toEqual([...given.keys()].sort());
        for (const [name, content] of given) expect(read.get(name)?.equals(content)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test('two different sets of files never share a hash by moving bytes between name and content', () => {
    const hashes = [{ ab: 'c' }, { a: 'bc' }, { 'a/b': 'c' }, { a: '', bc: '' }].map((sample) =>
      archiveHash(toFiles(sample)),
    );
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test('with any single byte changed is refused, or holds other files', () => {
    const files = toFiles({ 'a.py': 'abc', 'b/c.py': 'd' });
    const archive = writeArchive(files);
    fc.assert(
      fc.property(fc.nat(archive.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = Buffer.from(archive);
        changed.writeUInt8(changed.readUInt8(at) ^ mask, at);
        const read = tryRead(changed);
        if (read) expect(archiveHash(read)).not.toBe(archiveHash(files));
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ['an absolute path', '/etc/passwd'],
    ['a path that climbs out', '../server.py'],
    ['a path that climbs out in the middle', 'a/../../b'],
    ['a path with a "." segment', './server.py'],
    ['a path with an empty segment', 'a//b'],
    ['a path that ends in a slash', 'a/'],
    ['an empty path', ''],
    ['a path with a NUL', 'a\0b'],
    ['a path with a lone surrogate', 'a\ud800'],
    ['a name of 101 bytes', 'n'.repeat(101)],
    ['a name of 101 bytes under a directory', `d/${'n'.repeat(101)}`],
    ['a path over prefix and name together', `${'d'.repeat(156)}/n`],
  ])('is never made with %s', (_, path) => {
    expect(() => writeArchive(new Map([[path, Buffer.from('x')]]))).toThrow(Problem);
  });

  test.each([
    ['nothing at all', () => Buffer.alloc(0)],
    ['one without its end blocks', () => sample().subarray(0, 1024)],
    ['one that is cut off inside a file', () => sample().subarray(0, 515)],
    ['one with a byte after its end', () => Buffer.concat([sample(), Buffer.alloc(1)])],
    ['one with a second archive after it', () => Buffer.concat([sample(), sample()])],
    ['one with another mode', () => runTar(toFiles({ a: 'x' }), ['--mode=0755'])],
    ['one with a time', () => runTar(toFiles({ a: 'x' }), ['--mtime=@1'])],
    ['one in another format', () => runTar(toFiles({ a: 'x' }), ['--format=gnu'])],
    ['one with a directory in it', () => runTar(toFiles({ 'a/b': 'x' }), [], ['a'])],
    ['one that holds a file twice', () => runTar(toFiles({ a: 'x' }), [], ['a', 'a'])],
    ['one in another order', () => runTar(toFiles({ a: 'x', b: 'y' }), [], ['b', 'a'])],
    ['one that claims an absurd size', () => withSize('77777777777')],
    ['one whose size is no number', () => withSize('not-a-size!')],
  ])('is refused on reading: %s', (_, make) => {
    const bytes = make();
    expect(() => readArchive(bytes)).toThrow(Problem);
  });
});

describe('the archive of a layer', () => {
  const deep = `node_modules/${'a-long-package-name/node_modules/'.repeat(12)}${'f'.repeat(120)}.js`;
  const files = toFiles({ 'node_modules/a/index.js': 'a', [deep]: 'deep', ['é'.repeat(70)]: 'wide' });

  test('holds paths that ustar cannot, and gives them back', () => {
    const archive = writeArchive(files, { longPaths: 'pax' });
    const read = readArchive(archive, { longPaths: 'pax' });
    expect([...read].map(([path, content]) => [path, `${content}`]).sort()).toEqual(
      [...files].map(([path, content]) => [path, `${content}`]).sort(),
    );
  });

  test('is one that GNU tar unpacks', () => {
    const input = writeArchive(files, { longPaths: 'pax' });
    expect(`${execFileSync('tar', ['-xOf', '-', deep], { input })}`).toBe('deep');
  });

  test('is the strict one when no path is long', () => {
    const short = toFiles({ a: '1', 'b/c': '2' });
    expect(writeArchive(short, { longPaths: 'pax' }).equals(writeArchive(short))).toBe(true);
  });

  test('is refused where code is expected, and with a header too many', () => {
    expect(() => readArchive(writeArchive(files, { longPaths: 'pax' }))).toThrow(Problem);
    const needless = runTar(toFiles({ a: 'x' }), ['--format=pax', '--pax-option=comment=x']);
    expect(() => readArchive(needless, { longPaths: 'pax' })).toThrow(Problem);
    const endless = new Map([[`${'d/'.repeat(600)}f`, Buffer.alloc(0)]]);
    expect(() => writeArchive(endless, { longPaths: 'pax' })).toThrow(Problem);
  });
});

function sample(): Buffer {
  return writeArchive(toFiles({ a: 'hello' }));
}

function withSize(digits: string): Buffer {
  const archive = sample();
  archive.write(digits, 124, 'latin1');
  return archive;
}

function tryRead(archive: Buffer): Map<string, Buffer> | undefined {
  try {
    return readArchive(archive);
  } catch (error) {
    expect(error).toBeInstanceOf(Problem);
    return undefined;
  }
}

function toFiles(sample: Record<string, string | Uint8Array>): Map<string, Buffer> {
  return new Map(Object.entries(sample).map(([path, content]) => [path, Buffer.from(content)]));
}

/** What GNU tar makes of the same files, by default in the order of their paths' bytes. */
function runTar(files: Map<string, Buffer>, options: string[] = [], names?: string[]): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'archive-'));
  try {
    for (const [path, content] of files) {
      mkdirSync(join(directory, dirname(path)), { recursive: true });
      writeFileSync(join(directory, path), content, { mode: 0o600 });
    }
    const sorted = [...files.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const canonical = '--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 --format=ustar';
    // --hard-dereference: the same name twice would otherwise become a link to itself.
    return execFileSync(
      'tar',
      [...canonical.split(' '), '--hard-dereference', ...options, '--null', '-cf', '-', '-T', '-'],
      {
        cwd: directory,
        input: (names ?? sorted).map((name) => `${name}\0`).join(''),
        maxBuffer: 1 << 24,
      },
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}
