import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import type { RootPrograms } from '../../policy/roots/build-root.ts';

/** Absolute paths. Never searched in PATH: a shim there would be started as root and copied into jails. */
export type Programs = RootPrograms & {
  bwrap: string;
  setpriv: string;
  sh: string;
};

type ProgramName = keyof Programs;

const FOLDERS = ['/usr/bin', '/bin', '/usr/local/bin'];

const NEEDED: Record<Exclude<ProgramName, 'node'>, { file: string; package: string }> = {
  bwrap: { file: 'bwrap', package: 'bubblewrap' },
  setpriv: { file: 'setpriv', package: 'util-linux' },
  prlimit: { file: 'prlimit', package: 'util-linux' },
  sh: { file: 'sh', package: 'dash' },
  ldd: { file: 'ldd', package: 'libc-bin' },
  python: { file: 'python3', package: 'python3' },
};

export type ProgramSearch =
  | { kind: 'found'; programs: Programs }
  /** `detail` names the packages. */
  | { kind: 'missing'; detail: string };

/** Finds what the launch chain is made of; `given` paths are taken as they are, and must exist too. */
export async function findPrograms(given: Partial<Programs>): Promise<ProgramSearch> {
  const find = async (name: Exclude<ProgramName, 'node'>): Promise<string | undefined> => {
    const path = given[name];
    const candidates =
      path === undefined ? FOLDERS.map((folder) => `${folder}/${NEEDED[name].file}`) : [path];
    for (const candidate of candidates) {
      if (await isExecutable(candidate)) return candidate;
    }
    return undefined;
  };
  const [bwrap, setpriv, prlimit, sh, ldd, python] = await Promise.all([
    find('bwrap'),
    find('setpriv'),
    find('prlimit'),
    find('sh'),
    find('ldd'),
    find('python'),
  ]);
  if (bwrap && setpriv && prlimit && sh && ldd && python) {
    // What runs us is there; a given one that is not only costs that runtime.
    const node = given.node ?? process.execPath;
    return { kind: 'found', programs: { bwrap, setpriv, prlimit, sh, ldd, python, node } };
  }
  const found = { bwrap, setpriv, prlimit, sh, ldd, python };
  return { kind: 'missing', detail: describeMissing(found) };
}

function describeMissing(found: Partial<Record<ProgramName, string | undefined>>): string {
  const missing = Object.entries(NEEDED).filter(([name]) => found[name as keyof typeof NEEDED] === undefined);
  const packages = [...new Set(missing.map(([, needed]) => needed.package))].join(' ');
  const files = missing.map(([, needed]) => needed.file).join(', ');
  return `The sandbox needs ${files}: install ${packages} (on Debian: apt-get install ${packages}).`;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
