import { sha256Hex } from '../../core/bytes.ts';
import { canonicalJson } from '../../core/canonical-json.ts';
import { hasPackages, readPackageLock } from './package-lock.ts';
import { readRequirements, spellRequirements } from './requirements.ts';

export type BuildInput = {
  language: 'python' | 'node' | 'go';
  files: ReadonlyMap<string, Uint8Array>;
};

/** The indexes that builds install from. */
export type BuildIndexes = {
  /** Without a slash at its end, such as `https://registry.npmjs.org`. */
  npmRegistry: string;
  /** A PEP 503 index without a slash at its end, such as `https://pypi.org/simple`. */
  pypiIndex: string;
  /** Hosts besides those of the indexes, each `name` or `name:port`: where files are. */
  extraHosts: readonly string[];
};

/** What a submission wants installed, checked, and spelled anew by us. */
export type BuildPlan = {
  runtime: 'python' | 'node';
  index: string;
  /** What the installer is given. */
  files: ReadonlyMap<string, Buffer>;
};

/** Undefined when the code declares no dependencies. Throws a `Problem` that names the line or package to change. */
export function planBuild({ language, files }: BuildInput, indexes: BuildIndexes): BuildPlan | undefined {
  const requirements = files.get('requirements.txt');
  if (language === 'python' && requirements !== undefined) {
    const read = readRequirements(requirements);
    if (read.length === 0) return undefined;
    const text = Buffer.from(spellRequirements(read));
    return { runtime: 'python', index: indexes.pypiIndex, files: new Map([['requirements.txt', text]]) };
  }
  const lock = files.get('package-lock.json');
  if (language !== 'node' || lock === undefined) return undefined;
  const locked = readPackageLock({ lock, packageJson: files.get('package.json') }, indexes.npmRegistry);
  if (!hasPackages(locked)) return undefined;
  const given = new Map([
    ['package.json', Buffer.from(locked.packageJson)],
    ['package-lock.json', Buffer.from(locked.lock)],
  ]);
  return { runtime: 'node', index: indexes.npmRegistry, files: given };
}

/** The hosts that a build may reach. */
export function hostsOf({ index }: BuildPlan, { extraHosts }: BuildIndexes): string[] {
  const { hostname, port } = new URL(index);
  return [port === '' ? hostname : `${hostname}:${port}`, ...extraHosts];
}

/** Names everything that decides what a build makes. */
export function hashRecipe(plan: BuildPlan, made: { rootSha256: string; installerSha256: string }): string {
  const files = [...plan.files].map(([path, content]) => [path, sha256Hex(content)]);
  const { runtime, index } = plan;
  return sha256Hex(canonicalJson({ format: RECIPE_FORMAT, runtime, index, files, ...made }));
}

/** Raise it when the same ingredients shall make another layer. */
const RECIPE_FORMAT = 1;
