import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { archiveHash, readArchive } from '../../src/core/archive.ts';

const folder = mkdtempSync(join(tmpdir(), 'millicent-pack-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function millicent(...args: string[]) {
  const main = join(import.meta.dirname, '../../src/cli/millicent.mjs');
  const { status, stdout, stderr } = spawnSync(main, args, {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

function writeCode(name: string, files: Record<string, string>): string {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, name, path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, content);
  }
  return join(folder, name);
}

test('pack writes the archive whose hash is the code hash, the same as GNU tar makes it', () => {
  const files = { 'server.py': 'print(1)\n', 'lib/b.py': '', 'lib/a/ö.py': 'x = 1\n', '.hidden': 'h' };
  const code = writeCode('code', files);
  const { status, stdout } = millicent('pack', code, '--out', 'it.tar', '--url', 'https://market.example/');
  const archive = readFileSync(join(folder, 'it.tar'));
  const buffers = new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)]));
  expect([status, stdout.split('\n')[0]]).toEqual([0, `sha256:${archiveHash(buffers)}  it.tar`]);
  expect(stdout).toContain('ssh-keygen -Y sign -n mcp-release@market.example -f <key> it.tar');
  expect(stdout).toContain('gpg --armor --detach-sign it.tar');
  expect([...readArchive(archive)].sort()).toEqual([...buffers].sort());
  const tar = spawnSync(
    'bash',
    [
      '-c',
      "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | tar --null -T - --format=ustar --mode=0644 --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - | sha256sum",
      // In the folder with the code.
    ],
    { cwd: code, encoding: 'utf8' },
  );
  expect(tar.stdout.slice(0, 64)).toBe(archiveHash(buffers));
});

test('the release of a server elsewhere is its address', () => {
  const { status, stdout } = millicent('pack', '--endpoint', 'https://mcp.example.com/mcp');
  const files = readArchive(readFileSync(join(folder, 'endpoint.tar')));
  expect([status, [...files].map(([path, content]) => [path, content.toString()])]).toEqual([
    0,
    [['millicent-endpoint.json', '{"endpoint_url":"https://mcp.example.com/mcp"}']],
  ]);
  expect(stdout).toContain(archiveHash(files));
});

test('what no release can hold is named, and nothing is written', () => {
  const linked = writeCode('linked', { 'a.py': '' });
  symlinkSync('/etc/passwd', join(linked, 'link'));
  const long = writeCode('long', { [`${'d'.repeat(120)}/${'f'.repeat(120)}`]: '' });
  mkdirSync(join(folder, 'empty'));
  const refused: [string[], string][] = [
    [[], 'Name the folder'],
    [['a', 'b'], 'Name the folder'],
    [['missing'], 'ENOENT'],
    [['empty'], 'holds no file'],
    [[linked], 'link is neither a file nor a folder'],
    [[long], 'too long for ustar'],
  ];
  for (const [args, reason] of refused) {
    const { status, stderr } = millicent('pack', ...args, '--out', 'refused.tar');
    expect([status, stderr]).toEqual([2, expect.stringContaining(reason)]);
    expect(stderr).not.toContain('    at ');
  }
  expect(() => readFileSync(join(folder, 'refused.tar'))).toThrow('ENOENT');
});
