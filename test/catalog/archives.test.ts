import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readUpload } from '../../src/catalog/index.ts';
import { archiveHash, writeArchive } from '../../src/core/archive.ts';
import {
  makeTar,
  makeTarGz,
  makeZip,
  paxRecord,
  type TarEntry,
  type ZipEnd,
  type ZipEntry,
} from './archive-bytes.ts';
import { createBody, parse, refusalOf, times } from './fixtures.ts';

const MIB = 1024 * 1024;
const SERVER = 'print("hello")\n';
const server = { name: 'server.py', content: SERVER };

/** A few bytes of any kind, text among them, and now and then more than one block of a tar. */
const content = fc.oneof(
  fc.string().map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 1_500 }).map((bytes) => Buffer.from(bytes)),
);
const segment = fc.stringMatching(/^[a-z0-9_-]{1,12}(?:\.py)?$/);
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));
const codeFiles = fc
  .dictionary(path, content, { maxKeys: 8, noNullPrototype: true })
  .map((files): [string, Buffer][] => Object.entries({ ...files, 'server.py': Buffer.from(SERVER) }))
  .filter((files) => files.every(([one]) => files.every(([other]) => !other.startsWith(`${one}/`))));

const hashOf = (body: Record<string, unknown>, upload?: ReadonlyMap<string, Buffer>) =>
  archiveHash(parse(createBody(body), upload).files);
const foldersOf = (names: string[]) => [
  ...new Set(
    names.flatMap((name) =>
      times(name.split('/').length - 1, (depth) =>
        name
          .split('/')
          .slice(0, depth + 1)
          .join('/'),
      ),
    ),
  ),
];

describe('the same files', () => {
  it('as JSON, as a tar, as a tar.gz and as a zip have the same code hash, however they are packed', async () => {
    const samples = fc.asyncProperty(
      codeFiles,
      fc.boolean(),
      fc.boolean(),
      async (files, isPlain, isStreamed) => {
        const json = Object.fromEntries(
          files.map(([name, bytes]) => [name, { base64: bytes.toString('base64') }]),
        );
        const folders = isPlain ? [] : foldersOf(files.map(([name]) => name));
        const dot = isPlain ? '' : './';
        const tar = [
          ...(isPlain ? [] : [{ name: './', type: '5' }]),
          ...folders.map((name) => ({ name: `${dot}${name}/`, type: '5' })),
          ...files.map(([name, bytes]) => ({ name: dot + name, content: bytes })),
        ];
        const zip = makeZip([
          ...folders.map((name) => ({ name: `${name}/`, isStored: true, mode: 0o040755 })),
          ...files.toReversed().map(([name, bytes]) => ({
            ...{ name, content: bytes, isStored: isPlain, hasDescriptor: isStreamed, mode: 0o100755 },
          })),
        ]);
        const expected = hashOf({ files: json });
        const { files: _, ...rest } = createBody();
        for (const archive of [makeTar(tar), makeTarGz(tar), zip]) {
          expect(archiveHash(parse(rest, await readUpload(archive)).files)).toBe(expected);
        }
      },
    );
    await fc.assert(samples, { numRuns: 60 });
  });

  it('in one folder are what they are without it when the entrypoint is named from inside, in every form', async () => {
    const { files: _, ...rest } = createBody({ entrypoint: 'server.py' });
    const inside = [
      { name: 'package/server.py', content: SERVER },
      { name: 'package/lib/a.py', content: 'a = 1\n' },
    ];
    const expected = hashOf({ files: { 'server.py': SERVER, 'lib/a.py': 'a = 1\n' } });
    expect(archiveHash(parse(rest, await readUpload(makeTarGz(inside))).files)).toBe(expected);
    expect(archiveHash(parse(rest, await readUpload(makeZip(inside))).files)).toBe(expected);
    const asJson = Object.fromEntries(inside.map(({ name, content: text }) => [name, text]));
    expect(hashOf({ files: asJson })).toBe(expected);
    const named = parse({ ...rest, entrypoint: 'package/server.py' }, await readUpload(makeTarGz(inside)));
    expect([...named.files.keys()]).toEqual(['package/server.py', 'package/lib/a.py']);
  });
});

describe('what stock tools pack', () => {
  const long = `${'folder/'.repeat(8)}${'x'.repeat(40)}.py`;
  const files = {
    'server.py': SERVER,
    'data/grüße.txt': 'grüße\n',
    [long]: '',
    'zeros.bin': '\0'.repeat(100_000),
  };
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'millicent-pack-'));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, 'in', name)), { recursive: true });
      writeFileSync(join(folder, 'in', name), text);
    }
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const python = (program: string) => ['python3', ['-c', program, 'out', 'in']] as const;
  const TOOLS: [what: string, command: readonly [string, readonly string[]]][] = [
    ...['gnu', 'oldgnu', 'pax', 'ustar'].map((format): [string, readonly [string, readonly string[]]] => [
      `GNU tar, ${format}`,
      ['tar', ['-C', 'in', `--format=${format}`, '-czf', 'out', '.']],
    ]),
    ['GNU tar, names without a dot', ['sh', ['-c', 'cd in && tar -czf ../out *']]],
    [
      'Python tarfile',
      python(
        'import sys, tarfile\nt = tarfile.open(sys.argv[1], "w:gz")\nt.add(sys.argv[2], arcname="")\nt.close()',
      ),
    ],
    [
      'Python zipfile',
      python(
        'import pathlib, sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED)\nroot = pathlib.Path(sys.argv[2])\nfor p in root.rglob("*"):\n    z.write(p, p.relative_to(root))\nz.close()',
      ),
    ],
    [
      'Python zipfile to a pipe',
      python(
        'import pathlib, subprocess, sys, zipfile\ncat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=open(sys.argv[1], "wb"))\nz = zipfile.ZipFile(cat.stdin, "w", zipfile.ZIP_DEFLATED)\nroot = pathlib.Path(sys.argv[2])\nfor p in root.rglob("*"):\n    z.write(p, p.relative_to(root))\nz.close()\ncat.stdin.close()\ncat.wait()',
      ),
    ],
    [
      'git archive, tar.gz',
      [
        'sh',
        [
          '-c',
          'cd in && rm -rf .git && git init -q . && git add . && git -c user.name=x -c user.email=x@example.com commit -qm x && git archive --format=tar.gz -o ../out HEAD && rm -rf .git',
        ],
      ],
    ],
    [
      'git archive, zip',
      [
        'sh',
        [
          '-c',
          'cd in && rm -rf .git && git init -q . && git add . && git -c user.name=x -c user.email=x@example.com commit -qm x && git archive --format=zip -o ../out HEAD && rm -rf .git',
        ],
      ],
    ],
  ];

  it.each(TOOLS)('%s: is read as the files that went in', async (_, [command, args]) => {
    execFileSync(command, args, { cwd: folder, timeout: 20_000, stdio: 'pipe' });
    const read = await readUpload(readFileSync(join(folder, 'out')));
    expect(archiveHash(read)).toBe(
      archiveHash(new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]))),
    );
  });
});

/** A hostile tar, and what the refusal says of it. */
const TARS: [what: string, entries: TarEntry[], why: RegExp, end?: Buffer][] = [
  ['a symbolic link', [server, { name: 'link.py', type: '2' }], /"link.py" is a symbolic link/],
  ['a hard link', [server, { name: 'link.py', type: '1' }], /"link.py" is a hard link/],
  ['a character device', [server, { name: 'null', type: '3' }], /"null" is a device/],
  ['a block device', [server, { name: 'sda', type: '4' }], /"sda" is a device/],
  ['a named pipe', [server, { name: 'pipe', type: '6' }], /"pipe" is a named pipe/],
  ['a sparse file of GNU', [server, { name: 'holes', type: 'S' }], /"holes" is a sparse file/],
  ['a long link name', [server, { name: '././@LongLink', type: 'K', content: 'x' }], /has the type "K"/],
  ['a type nobody knows', [server, { name: 'odd', type: 'Z' }], /"odd" has the type "Z"/],
  ['the same path twice', [server, server], /"server.py" is there twice/],
  ['the same path with and without a dot', [server, { name: './server.py' }], /"server.py" is there twice/],
  ['an absolute path', [{ name: '/etc/passwd' }], /"\/etc\/passwd" is absolute/],
  [
    'a path that climbs out',
    [{ name: '../../etc/passwd' }],
    /"..\/..\/etc\/passwd" has a "." or ".." segment/,
  ],
  ['a folder that climbs out', [server, { name: '../', type: '5' }], /".." has a "." or ".." segment/],
  ['a drive letter', [{ name: 'C:/server.py' }], /"C:\/server.py" has a drive letter/],
  ['a backslash', [{ name: 'a\\server.py' }], /has a backslash/],
  ['a control character', [{ name: 'a\nserver.py' }], /control or invisible character/],
  [
    'a NUL in a pax path',
    [{ name: 'x', type: 'x', content: paxRecord('path', 'server.py\0.txt') }, server],
    /"server.py\\u0000.txt" has a control/,
  ],
  [
    'a name that is no UTF-8',
    [{ name: Buffer.from([0x61, 0xff, 0x62]) }],
    /"aÿb" has a name that is not UTF-8/,
  ],
  [
    'a path of 101 bytes',
    [{ name: 'x', type: 'L', content: `${'x'.repeat(101)}\0` }, server],
    /is longer than 100 bytes/,
  ],
  [
    'a path of 256 levels',
    [{ name: 'x', type: 'x', content: paxRecord('path', `${'d/'.repeat(255)}x`) }, server],
    /is longer than 100 bytes/,
  ],
  ['a file that ends in a slash', [{ name: 'server.py/' }], /has an empty segment/],
  [
    'a file and a folder of one name',
    [server, { name: 'SERVER.py/', type: '5' }],
    /"server.py" is a file, and "SERVER.py" is a folder/,
  ],
  [
    'a folder with content',
    [server, { name: 'a/', type: '5', content: 'x' }],
    /"a\/" is a folder with content/,
  ],
  [
    'a pax header with a size',
    [{ name: 'x', type: 'x', content: paxRecord('size', '1') }, server],
    /pax header "size"/,
  ],
  [
    'a pax header with a link',
    [{ name: 'x', type: 'x', content: paxRecord('linkpath', '/etc') }, server],
    /pax header "linkpath"/,
  ],
  [
    'a sparse file of pax',
    [{ name: 'x', type: 'x', content: paxRecord('GNU.sparse.major', '1') }, server],
    /sparse/,
  ],
  [
    'a pax header in another charset',
    [{ name: 'x', type: 'x', content: paxRecord('hdrcharset', 'BINARY') }, server],
    /"hdrcharset"/,
  ],
  [
    'a global path',
    [{ name: 'x', type: 'g', content: paxRecord('path', 'a.py') }, server],
    /global pax header "path"/,
  ],
  [
    'a pax header with two paths',
    [
      { name: 'x', type: 'x', content: Buffer.concat([paxRecord('path', 'a'), paxRecord('path', 'b')]) },
      server,
    ],
    /two paths/,
  ],
  [
    'a pax header that lies about its length',
    [{ name: 'x', type: 'x', content: '99 path=a\n' }, server],
    /cannot be read/,
  ],
  [
    'a pax header without a length',
    [{ name: 'x', type: 'x', content: 'path=a\n' }, server],
    /cannot be read/,
  ],
  [
    'a pax header larger than sense',
    [{ name: 'x', type: 'x', content: paxRecord('comment', 'x'.repeat(70_000)) }, server],
    /extended header of \d+ bytes/,
  ],
  [
    'two names for one entry',
    [
      { name: 'x', type: 'x', content: paxRecord('path', 'a') },
      { name: 'x', type: 'L', content: 'b\0' },
      server,
    ],
    /"a" is announced twice/,
  ],
  [
    'a name for no entry',
    [server, { name: 'x', type: 'L', content: 'b.py\0' }],
    /"b.py" is announced, and no entry follows/,
  ],
  ['a size that is no number', [{ ...server, size: 'xxxxxxxxxxx\0' }], /"server.py" has no readable size/],
  [
    'a size in binary',
    [{ ...server, size: '\x80\0\0\0\0\0\0\0\0\0\0\x0f' }],
    /"server.py" has no readable size/,
  ],
  ['a size beyond the end', [{ ...server, size: '00000777777\0' }], /cut off in the middle/],
  ['a wrong checksum', [server, { name: 'a.py', checksum: '000001\0 ' }], /wrong checksum/],
  ['no end', [server], /cut off: a tar ends with two empty blocks/, Buffer.alloc(0)],
  ['half an end', [server], /cut off: a tar ends with two empty blocks/, Buffer.alloc(512)],
  [
    'something after its end',
    [server],
    /data after its end/,
    Buffer.concat([Buffer.alloc(1024), makeTar([{ name: 'b.py' }])]),
  ],
  ['something that is no tar', [], /what it holds is no tar/, Buffer.alloc(1024, 'x')],
];

describe('a tar.gz', () => {
  it.each(TARS)('with %s is refused, and says so', async (_, entries, why, end) => {
    const refused = await refusalOf(() => readUpload(makeTarGz(entries, end)));
    expect(refused).toMatchObject({ type: 'invalid-code', options: { members: { field: 'archive' } } });
    expect(refused.message).toMatch(why);
  });

  it('of any beginning of itself, or with any byte changed, is refused or is the same files: never others', async () => {
    const whole = makeTarGz([server, { name: 'lib/a.py', content: 'a = 1\n' }]);
    for (let length = 0; length < whole.length; length += 1) {
      expect((await refusalOf(() => readUpload(whole.subarray(0, length)))).type).toBe('invalid-code');
    }
    const expected = archiveHash(await readUpload(whole));
    for (let index = 0; index < whole.length; index += 1) {
      const changed = Buffer.from(whole);
      changed[index] = (changed[index] ?? 0) ^ 0x40;
      const read = await readUpload(changed).catch((error) => error);
      if (read instanceof Map) expect(archiveHash(read)).toBe(expected);
      else expect(read.type).toBe('invalid-code');
    }
  });

  it('with something after its gzip stream is refused, and one in two members is read', async () => {
    const whole = makeTarGz([server]);
    for (const after of [Buffer.alloc(8), Buffer.from('more'), gzipSync(makeTar([{ name: 'b.py' }]))]) {
      const refused = await refusalOf(() => readUpload(Buffer.concat([whole, after])));
      expect(refused.message).toMatch(/data after|followed by something else/);
    }
    const tar = makeTar([server]);
    const members = Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]);
    expect([...(await readUpload(members)).keys()]).toEqual(['server.py']);
  });

  it('that is a bomb is given up while it inflates, by its ratio and by its size', async () => {
    const started = performance.now();
    const bomb = gzipSync(Buffer.alloc(200 * MIB), { level: 9 });
    expect((await refusalOf(() => readUpload(bomb))).message).toMatch(
      /unpacks to more than (?:200 times|\d+ bytes)/,
    );
    const half = gzipSync(makeTar([{ name: 'a.bin', content: Buffer.alloc(4 * MIB) }]));
    expect((await refusalOf(() => readUpload(half))).message).toMatch(/more than 200 times its own size/);
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('of too many files or entries is refused, and one at the bound is read', async () => {
    const many = (count: number, type = '0') =>
      times(count, (index) => ({
        name: `f${index}${type === '5' ? '/' : ''}`,
        type,
        content: type === '0' ? `${Math.random()}` : '',
      }));
    expect((await readUpload(makeTarGz(many(1_000)))).size).toBe(1_000);
    expect((await refusalOf(() => readUpload(makeTarGz(many(1_001))))).message).toMatch(
      /more than 1000 files/,
    );
    const folders = await refusalOf(() => readUpload(makeTarGz(many(4_001, '5'))));
    expect(folders.message).toMatch(/more than 4000 entries|200 times/);
  });
});

const link = { name: 'link.py', content: 'server.py', mode: 0o120777 };
const field = (id: number, bytes = 4) => {
  const extra = Buffer.alloc(4 + bytes);
  extra.writeUInt16LE(id, 0);
  extra.writeUInt16LE(bytes, 2);
  return extra;
};
const ZIPS: [what: string, entries: ZipEntry[], why: RegExp, end?: ZipEnd][] = [
  ['a symbolic link', [server, link], /"link.py" is a symbolic link/],
  ['a device', [server, { name: 'null', mode: 0o020666 }], /"null" is neither a file nor a folder/],
  ['a folder that is named as a file', [server, { name: 'a', mode: 0o040755 }], /"a" is neither/],
  ['a folder with content', [server, { name: 'a/', content: 'some' }], /"a\/" is a folder with content/],
  ['the same path twice', [server, server], /"server.py" is there twice/],
  ['an absolute path', [{ name: '/etc/passwd' }], /"\/etc\/passwd" is absolute/],
  ['a path that climbs out', [{ name: '../server.py' }], /"..\/server.py" has a "." or ".." segment/],
  ['a drive letter', [{ name: 'C:/x.py' }], /"C:\/x.py" has a drive letter/],
  ['a backslash', [{ name: '..\\x.py' }], /has a backslash/],
  ['a NUL', [{ name: 'server.py\0.txt' }], /control or invisible/],
  ['a name that is no UTF-8', [{ name: Buffer.from([0xff, 0x61]) }], /"ÿa" has a name that is not UTF-8/],
  [
    'a name that is not marked as UTF-8',
    [{ name: 'grüße.py', flags: 0 }],
    /"grüße.py" has a name that is not marked/,
  ],
  ['a file and a folder of one name', [server, { name: 'server.py/' }], /"server.py" is a file, and/],
  ['an encrypted entry', [{ ...server, flags: 0x0801 }], /"server.py" is encrypted/],
  ['strong encryption', [{ ...server, flags: 0x0840 }], /"server.py" is encrypted/],
  ['an encrypted directory', [{ ...server, flags: 0x2800 }], /"server.py" is encrypted/],
  ['an AES entry', [{ ...server, extra: field(0x9901) }], /"server.py" is encrypted/],
  ['a patch', [{ ...server, flags: 0x0820 }], /needs more than version 2.0/],
  ['a Zip64 version', [{ ...server, needed: 45 }], /needs more than version 2.0/],
  ['a Zip64 field', [{ ...server, extra: field(1) }], /"server.py" is in Zip64 form/],
  [
    'a Zip64 field before the content alone',
    [{ ...server, localExtra: field(1) }],
    /"server.py" is in Zip64 form/,
  ],
  ['Zip64 sizes', [{ ...server, bytes: 0xffffffff }], /"server.py" is in Zip64 form/],
  [
    'a Zip64 end',
    [server],
    /in Zip64 form/,
    { between: Buffer.concat([Buffer.from('PK\x06\x07', 'latin1'), Buffer.alloc(16)]) },
  ],
  ['a second name', [{ ...server, extra: field(0x7075, 9) }], /"server.py" has a second name/],
  [
    'a field that is cut off',
    [{ ...server, extra: Buffer.from([9, 9, 200, 0, 1]) }],
    /extra field that cannot be read/,
  ],
  ['bzip2', [{ ...server, method: 12 }], /compressed by method 12/],
  [
    'another name before the content',
    [{ ...server, localName: 'evilll.py' }],
    /"server.py" is described differently/,
  ],
  ['another size before the content', [{ ...server, localBytes: 1 }], /"server.py" is described differently/],
  [
    'another method before the content',
    [{ ...server, localMethod: 0 }],
    /"server.py" is described differently/,
  ],
  [
    'another size after the content',
    [{ ...server, hasDescriptor: true, localBytes: 1 }],
    /described differently in the directory and after its content/,
  ],
  ['a wrong checksum', [{ ...server, crc: 1 }], /"server.py" is damaged: its checksum/],
  [
    'content that is no deflate',
    [{ ...server, packed: Buffer.from('\xff\xff\xff', 'latin1') }],
    /"server.py" is damaged/,
  ],
  [
    'more content than it says',
    [{ ...server, content: 'x'.repeat(1_000), bytes: 10 }],
    /unpacks to more than the 10 bytes/,
  ],
  ['less content than it says', [{ ...server, bytes: 100 }], /is said to have 100 bytes/],
  [
    'something before its files',
    [{ ...server, before: Buffer.from('MZ') }],
    /neither a tar|does not begin where/,
  ],
  [
    'something between its files',
    [server, { name: 'a.py', before: Buffer.from('hidden') }],
    /"a.py" does not begin where the entry before it ends/,
  ],
  [
    'entries that overlap',
    [server, { name: 'a.py', offsetError: -5 }],
    /"a.py" does not begin|has no header/,
  ],
  [
    'something between files and directory',
    [server],
    /does not lie|data between its files/,
    { gap: Buffer.from('hidden') },
  ],
  [
    'something between directory and end',
    [server],
    /does not lie right before its end/,
    { between: Buffer.from('hidden') },
  ],
  ['something after its end', [server], /data after its end/, { after: Buffer.from('x') }],
  [
    'two ends',
    [server],
    /two ends/,
    { comment: Buffer.concat([Buffer.from('PK\x05\x06', 'latin1'), Buffer.alloc(18)]) },
  ],
  ['more entries than it counts', [server, { name: 'a.py' }], /more in it than it counts/, { entries: 1 }],
  ['fewer entries than it counts', [server], /directory cannot be read/, { entries: 2 }],
  ['two counts', [server], /counts its entries twice/, { entries: 1, diskEntries: 2 }],
  ['several parts', [server], /one part of several/, { disk: 1 }],
];

describe('a zip', () => {
  it.each(ZIPS)('with %s is refused, and says so', async (_, entries, why, end) => {
    const refused = await refusalOf(() => readUpload(makeZip(entries, end)));
    expect(refused).toMatchObject({ type: 'invalid-code', options: { members: { field: 'archive' } } });
    expect(refused.message).toMatch(why);
  });

  it('with a comment is read', async () => {
    const zip = makeZip([server, { name: 'a/' }], { comment: 'f00dcafe'.repeat(5) });
    expect([...(await readUpload(zip)).keys()]).toEqual(['server.py']);
  });

  it('of any beginning of itself, or with any byte changed, is refused or is the same files: never others', async () => {
    const whole = makeZip([server, { name: 'lib/a.py', content: 'a = 1\n', hasDescriptor: true }]);
    for (let length = 0; length < whole.length; length += 1) {
      expect((await refusalOf(() => readUpload(whole.subarray(0, length)))).type).toBe('invalid-code');
    }
    const expected = archiveHash(await readUpload(whole));
    for (let index = 0; index < whole.length; index += 1) {
      for (const bit of [0x01, 0x40]) {
        const changed = Buffer.from(whole);
        changed[index] = (changed[index] ?? 0) ^ bit;
        const read = await readUpload(changed).catch((error) => error);
        // Times, versions and attributes may change, and nothing that is unpacked.
        if (read instanceof Map) expect([index, archiveHash(read)]).toEqual([index, expected]);
        else
          expect([index, read.type]).toEqual([index, expect.stringMatching(/invalid-code|body-too-large/)]);
      }
    }
  });

  it('that is a bomb is refused before it inflates, also when it lies about its sizes', async () => {
    const zeros = Buffer.alloc(8 * MIB);
    const honest = makeZip([{ name: 'a.bin', content: zeros }]);
    expect((await refusalOf(() => readUpload(honest))).message).toMatch(
      /"a.bin" unpacks to more than 200 times/,
    );
    const liar = makeZip([{ name: 'a.bin', content: zeros, bytes: 1_000 }]);
    expect((await refusalOf(() => readUpload(liar))).message).toMatch(/more than the 1000 bytes it says/);
    const large = await refusalOf(() =>
      readUpload(makeZip([{ name: 'a.bin', content: 'x', bytes: 0x7fffffff }])),
    );
    expect(large).toMatchObject({ type: 'body-too-large' });
    const many = times(1_001, (index) => ({ name: `f${index}`, content: 'x' }));
    expect((await refusalOf(() => readUpload(makeZip(many)))).message).toMatch(/more than 1000 files/);
  });
});

describe('an archive', () => {
  it('is known by its bytes: anything but a tar, a gzipped tar and a zip is refused with what to send', async () => {
    for (const bytes of ['', 'x', '7z\xbc\xaf', 'BZh9', '\xfd7zXZ\0', 'Rar!', SERVER]) {
      const refused = await refusalOf(() => readUpload(Buffer.from(bytes, 'latin1')));
      expect(refused.message).toMatch(bytes === '' ? /is empty/ : /\.tar\.gz\).*zip/);
    }
    const damaged = makeTar([server]);
    damaged[0] = 0;
    expect((await refusalOf(() => readUpload(damaged))).message).toMatch(/what it holds is no tar/);
  });

  it('may be the very file that was signed, whatever its first name begins with', async () => {
    for (const name of ['server.py', 'PK.py']) {
      const files = new Map([[name, Buffer.from(SERVER)]]);
      expect(await readUpload(writeArchive(files))).toEqual(files);
    }
  });

  it('whose files are refused beside the JSON map is refused too: by case, by size, by entrypoint', async () => {
    const { files: _, ...rest } = createBody();
    const pack = (...entries: TarEntry[]) => readUpload(makeTarGz(entries));
    const clash = await pack(server, { name: 'SERVER.py' });
    expect((await refusalOf(() => parse(rest, clash))).message).toMatch(/differ only in case/);
    const random = Buffer.from(times(3 * MIB, () => Math.floor(Math.random() * 256)));
    const large = await pack(server, { name: 'a.bin', content: random });
    expect((await refusalOf(() => parse(rest, large))).type).toBe('body-too-large');
    const other = await pack({ name: 'main.py' });
    expect((await refusalOf(() => parse(rest, other))).message).toMatch(/^entrypoint: /);
    const both = await refusalOf(() => parse({ ...rest, files: { 'server.py': '' } }, clash));
    expect(both.message).toMatch(/^files: are in the archive already/);
  });
});
