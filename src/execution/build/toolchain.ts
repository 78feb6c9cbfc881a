import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { sha256Hex } from '../../core/bytes.ts';
import { Problem } from '../../core/problem.ts';

/** An installer of the machine, as files for the build jail's code folder. */
export type Installer = {
  /** Over its files: another installer may make another layer of the same lock. */
  sha256: string;
  files: ReadonlyMap<string, Buffer>;
};

export type ToolchainInput = {
  /** Where a pip wheel is looked for, and a file npm's folder is in; the usual places when left out. */
  pipFolders?: readonly string[];
  npmFolder?: string;
  /** PEM of the authority that signed an operator's own index. */
  extraCa?: string | undefined;
};

export type Toolchain = { pip(): Promise<Installer>; npm(): Promise<Installer> };

const WHEEL = /^pip-\d[0-9.]*-py3-none-any\.whl$/;
const DRIVERS = join(import.meta.dirname, 'drivers');
const AUTHORITIES = 'authorities.pem';
/** What npm never runs when it installs, and what is only for people. */
const NPM_LEFT_OUT = /^(?:docs|man|html|test|tests|\.github|CHANGELOG\.md|README\.md)$/;
const NPM_FILES_MAX = 10_000;

/** Finds the machine's pip and npm: what installs publishers' dependencies comes from where the gateway does. */
export function createToolchain({ pipFolders, npmFolder, extraCa }: ToolchainInput): Toolchain {
  const authorities = Buffer.from(
    [...rootCertificates, ...(extraCa === undefined ? [] : [extraCa])].join('\n'),
  );
  return {
    async pip() {
      const wheel = await findPip(pipFolders ?? (await usualPipFolders()));
      const driver = await readFile(join(DRIVERS, 'install.py'));
      return toInstaller(
        new Map([
          ['pip.whl', wheel],
          ['install.py', driver],
        ]),
        authorities,
      );
    },
    async npm() {
      const folder = npmFolder ?? join(dirname(process.execPath), '../lib/node_modules/npm');
      const files = new Map<string, Buffer>();
      await readFolder(folder, 'npm', files);
      if (!files.has('npm/bin/npm-cli.js'))
        throw missing('npm, which comes with Node from nodejs.org or NodeSource');
      files.set('install.mjs', await readFile(join(DRIVERS, 'install.mjs')));
      return toInstaller(files, authorities);
    },
  };
}

function toInstaller(files: Map<string, Buffer>, authorities: Buffer): Installer {
  const names = [...files].map(([path, content]) => [path, sha256Hex(content)]);
  files.set(AUTHORITIES, authorities);
  return { sha256: sha256Hex(JSON.stringify(names.sort())), files };
}

async function usualPipFolders(): Promise<string[]> {
  const libraries = ['/usr/lib', '/usr/local/lib'];
  const bundled = await Promise.all(
    libraries.map(async (library) => {
      const names = await readdir(library).catch(() => []);
      return names
        .filter((name) => /^python3\.\d+$/.test(name))
        .map((name) => join(library, name, 'ensurepip/_bundled'));
    }),
  );
  return ['/usr/share/python-wheels', ...bundled.flat()];
}

async function findPip(folders: readonly string[]): Promise<Buffer> {
  for (const folder of folders) {
    const names = await readdir(folder).catch(() => []);
    const wheel = names
      .filter((name) => WHEEL.test(name))
      .sort()
      .at(-1);
    if (wheel !== undefined) return readFile(join(folder, wheel));
  }
  throw missing('pip (on Debian: apt-get install python3-pip-whl)');
}

/** Regular files only; npm brings nothing else, but a distribution's may be full of links elsewhere. */
async function readFolder(folder: string, prefix: string, files: Map<string, Buffer>): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const isTop = prefix === 'npm';
    if (NPM_LEFT_OUT.test(entry.name) && (isTop || entry.name.endsWith('.md'))) continue;
    const [path, name] = [join(folder, entry.name), `${prefix}/${entry.name}`];
    if (entry.isDirectory()) await readFolder(path, name, files);
    else if (entry.isFile()) files.set(name, await readFile(path));
    if (files.size > NPM_FILES_MAX) throw new Error(`${folder} is too large to be npm's`);
  }
}

function missing(what: string): Problem {
  return new Problem('unavailable', {
    detail: `This gateway cannot install dependencies: it lacks ${what}.`,
    retryAfterSeconds: 300,
  });
}
