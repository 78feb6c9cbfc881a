import { describe, expect, it } from 'vitest';
import {
  CODE_BYTES_MAX,
  FILE_BYTES_MAX,
  FILES_MAX,
  type FileContent,
  readFiles,
} from '../../src/catalog/code-files.ts';
import { readArchive, writeArchive } from '../../src/core/archive.ts';
import { refusalOf, times } from './fixtures.ts';

const withFiles = (...paths: string[]) => Object.fromEntries(paths.map((path) => [path, 'x']));

/** What is wrong, the paths that are, and the words that tell their author what to do. */
const REFUSED: [what: string, paths: string[], fix: RegExp][] = [
  ['climbs out', ['../x.py', 'a/../../x.py', 'a/..', '..', 'a/../b.py'], /below the root of your code/],
  ['is not plain', ['.', './x.py', 'a/./x.py'], /below the root of your code/],
  ['is absolute', ['/x.py', '//x.py', '/'], /make it relative/],
  ['has a backslash', ['a\\x.py', '..\\x.py', 'C:\\x.py'], /use "\/" between directories/],
  ['has a drive letter', ['C:/x.py', 'c:x.py'], /make it relative/],
  ['has an empty segment', ['a//x.py', 'a/', 'a/b/'], /remove the extra "\/"/],
  ['is empty', [''], /needs a name/],
  ['is longer than 100 bytes', ['x'.repeat(101), 'ü'.repeat(51), `${'d/'.repeat(50)}x`], /shorten it/],
  [
    'hides a character',
    ['x\0.py', 'x\n.py', 'x\u007f.py', 'x\u202ey.py', 'x\u200b.py', 'x\u2028.py', 'x\ud800.py'],
    /remove it/,
  ],
  ['is decomposed', ['e\u0301.py', '\u212a.py'], /normalise it/],
];

describe('the path of a file', () => {
  it.each(REFUSED)('that %s is refused with the path and the fix', async (_, paths, fix) => {
    for (const path of paths) {
      const { type, message, options } = await refusalOf(() => readFiles(withFiles('server.py', path)));
      expect([path, type, options.members]).toEqual([path, 'invalid-code', { field: 'files' }]);
      expect(message).toMatch(fix);
      expect(message).toContain(JSON.stringify(path).slice(0, 100));
    }
  });

  it.each([
    ...['x', '.env', '..x', 'x..', '...', 'a/b/c.py', 'grüße.py', '数.py', 'a b.py', '-x', "'; --.py"],
    ...['x'.repeat(100), `${'d/'.repeat(49)}xx`],
  ])('may be %j, and comes out of the archive as it went in', (path) => {
    const files = readFiles({ ...withFiles('server.py'), [path]: 'x' });
    expect(readArchive(writeArchive(files))).toEqual(new Map([...files].sort(([a], [b]) => byBytes(a, b))));
  });

  it('that differs from another only in case is refused, in any script', async () => {
    for (const [one, other] of [
      ...[['server.py', 'SERVER.py'] as const, ['a/x', 'A/x'] as const, ['straße', 'STRASSE'] as const],
      ...[['ſ.py', 's.py'] as const, ['ς', 'σ'] as const, ['Ünit', 'ünit'] as const],
    ]) {
      const { message } = await refusalOf(() => readFiles(withFiles(one, other)));
      expect(message).toContain(`${JSON.stringify(one)} and ${JSON.stringify(other)} differ only in case`);
    }
  });

  it('that lies below another file is refused, whichever comes first and whatever their case', async () => {
    for (const [file, below] of [
      ...[['a', 'a/x.py'] as const, ['a/b', 'a/b/c/d.py'] as const, ['A', 'a/x.py'] as const],
    ]) {
      for (const paths of [
        [file, below],
        [below, file],
      ]) {
        const { message } = await refusalOf(() => readFiles(withFiles(...paths)));
        expect(message).toContain(`${JSON.stringify(file)} is a file, so ${JSON.stringify(below)}`);
      }
    }
    expect(readFiles(withFiles('a', 'ab/x', 'a.py', 'a-b/c')).size).toBe(4);
  });
});

describe('the files of a submission', () => {
  it('are at least one and at most a thousand', async () => {
    const many = (count: number) => withFiles(...times(count, (index) => `${index}.py`));
    expect(readFiles(many(FILES_MAX)).size).toBe(FILES_MAX);
    expect((await refusalOf(() => readFiles(many(FILES_MAX + 1)))).message).toMatch(/at most 1000.*not 1001/);
    expect((await refusalOf(() => readFiles({}))).message).toMatch(/at least one file/);
  });

  it('may be as large as the bounds and not a byte larger, alone and together, as text and as base64', async () => {
    const text = (bytes: number) => 'x'.repeat(bytes);
    const base64 = (bytes: number): FileContent => ({ base64: Buffer.alloc(bytes).toString('base64') });
    const third = CODE_BYTES_MAX - 2 * FILE_BYTES_MAX;
    for (const make of [text, base64]) {
      const full = { a: make(FILE_BYTES_MAX), b: make(FILE_BYTES_MAX), c: make(third) };
      expect(readFiles(full).size).toBe(3);
      const one = await refusalOf(() => readFiles({ 'big.bin': make(FILE_BYTES_MAX + 1) }));
      expect(one).toMatchObject({ type: 'body-too-large', options: { members: { field: 'files' } } });
      expect(one.message).toBe('files: "big.bin" has 2097153 bytes; one file may have 2097152.');
      const all = await refusalOf(() => readFiles({ ...full, c: make(third + 1) }));
      expect(all.message).toBe('files: all files together have 5242881 bytes; they may have 5242880.');
    }
    const wide = await refusalOf(() => readFiles({ 'wide.txt': 'ü'.repeat(FILE_BYTES_MAX / 2 + 1) }));
    expect(wide.type).toBe('body-too-large');
  });

  it('are the bytes that were sent: half a character or loose base64 is refused', async () => {
    const sent = readFiles({ 'a.txt': 'grüße\r\n\0', 'b.bin': { base64: 'AP/+' }, 'c.txt': '' });
    expect([...sent.values()].map((bytes) => bytes.toString('hex'))).toEqual([
      ...['6772c3bcc39f650d0a00', '00fffe', ''],
    ]);
    expect((await refusalOf(() => readFiles({ 'a.txt': 'x\ud800' }))).message).toMatch(/"a.txt".*Unicode/);
    for (const base64 of ['QQ', 'QQ=', 'QR==', 'Q Q=', 'QQ==\n', '_-__', '!!', 'QQ==QQ==']) {
      const { message } = await refusalOf(() => readFiles({ 'b.bin': { base64 } }));
      expect([base64, message]).toEqual([base64, expect.stringMatching(/"b.bin".*base64 \(RFC 4648/)]);
    }
  });
});

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
