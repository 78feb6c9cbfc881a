import { lstat, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { endpointFiles } from '../catalog/index.ts';
import { writeArchive } from '../core/archive.ts';
import { sha256Hex } from '../core/bytes.ts';
import { Problem } from '../core/problem.ts';
import { type Command, type CommandInput, textOf, UsageError } from './command.ts';

/** As much as a gateway takes of one program, which is its largest upload. */
const BYTES_MAX = 64 * 1024 * 1024;
const FILES_MAX = 5_000;

export const packCommand: Command = {
  options: { out: { type: 'string', short: 'o' }, endpoint: { type: 'string' } },
  optionTexts: [
    ['--out <file.tar>', 'where it is written; <folder>.tar here when left out'],
    [
      '--endpoint <url>',
      'instead of a folder: the address of a "pro" server, which is all that its release is',
    ],
  ],
  run: pack,
};

async function pack(input: CommandInput): Promise<number> {
  const { name, files } = await readRelease(input);
  const out = textOf(input, 'out') ?? `${name}.tar`;
  const archive = archiveOf(files);
  await writeFile(out, archive);
  const { host } = new URL(input.url);
  const file = quote(out);
  input.print(
    [
      `sha256:${sha256Hex(archive)}  ${out}`,
      '',
      'Sign it in one of these ways, and publish with the text of the signature as "signature":',
      `  ssh-keygen -Y sign -n mcp-release@${host} -f <key> ${file}`,
      `  gpg --armor --detach-sign ${file}`,
      `  minisign -S -s <key> -m ${file}`,
    ].join('\n'),
  );
  return 0;
}

async function readRelease(
  input: CommandInput,
): Promise<{ name: string; files: ReadonlyMap<string, Buffer> }> {
  const [folder, ...more] = input.positionals;
  const endpoint = textOf(input, 'endpoint');
  if ((folder === undefined) === (endpoint === undefined) || more.length > 0) {
    throw new UsageError('Name the folder with the code, or an --endpoint.');
  }
  if (endpoint !== undefined) return { name: 'endpoint', files: endpointFiles(endpoint) };
  const root = resolve(folder ?? '.');
  return { name: basename(root), files: await readFolder(root) };
}

/** Every file below a folder, by its path from there. */
export async function readFolder(root: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  let bytes = 0;
  const folders = [''];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const name of await readdir(join(root, folder))) {
      const path = folder === '' ? name : `${folder}/${name}`;
      const found = await lstat(join(root, path));
      if (found.isDirectory()) {
        folders.push(path);
        continue;
      }
      if (!found.isFile())
        throw new UsageError(`${path} is neither a file nor a folder, and no release holds it.`);
      bytes += found.size;
      if (bytes > BYTES_MAX || files.size >= FILES_MAX) {
        throw new UsageError(`The folder holds more than ${FILES_MAX} files or ${BYTES_MAX} bytes.`);
      }
      files.set(path, await readFile(join(root, path)));
    }
  }
  if (files.size === 0) throw new UsageError('The folder holds no file.');
  return files;
}

export function archiveOf(files: ReadonlyMap<string, Buffer>): Buffer {
  try {
    return writeArchive(files);
  } catch (error) {
    // Paths that no archive may hold.
    throw error instanceof Problem ? new UsageError(error.message) : error;
  }
}

/** For a shell. */
function quote(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
