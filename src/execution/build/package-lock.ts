import { z } from 'zod';
import { Problem } from '../../core/problem.ts';

/** What npm is given: the lock as it was checked, and a package.json that says no more than what is installed. */
export type LockedPackages = { packageJson: string; lock: string };

const TEXT_BYTES_MAX = 2 * 1024 * 1024;
const PACKAGES_MAX = 2_000;
const PUBLIC_REGISTRY = 'https://registry.npmjs.org/';

const NAME = '(?:@[a-z0-9~._-]{1,100}/)?[A-Za-z0-9~_-][A-Za-z0-9~._-]{0,100}';
const PLACE = new RegExp(`^node_modules/${NAME}(?:/node_modules/${NAME})*$`);
const PLACE_BYTES_MAX = 500;
/** SHA-512 in base64: 88 characters (Subresource Integrity). */
const INTEGRITY = /(?:^|\s)sha512-[A-Za-z0-9+/]{86}==(?=\s|$)/;
const VERSION = /^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]{1,100})?$/;

const versions = z.record(z.string(), z.string());
const declared = z.object({
  dependencies: versions.optional(),
  devDependencies: versions.optional(),
  optionalDependencies: versions.optional(),
  peerDependencies: versions.optional(),
  peerDependenciesMeta: z.record(z.string(), z.object({ optional: z.boolean().optional() })).optional(),
});
const manifestSchema = declared.extend({
  name: z.string().max(214).optional(),
  version: z.string().max(256).optional(),
  overrides: z.record(z.string(), z.json()).optional(),
  workspaces: z.unknown().optional(),
});
/** Members that npm needs in order to install; scripts, programs and notes are not among them. */
const entrySchema = declared.extend({
  name: z.string().optional(),
  version: z.string().optional(),
  resolved: z.string().optional(),
  integrity: z.string().optional(),
  link: z.boolean().optional(),
  dev: z.boolean().optional(),
  devOptional: z.boolean().optional(),
  optional: z.boolean().optional(),
  peer: z.boolean().optional(),
  inBundle: z.boolean().optional(),
  os: z.array(z.string()).optional(),
  cpu: z.array(z.string()).optional(),
  libc: z.array(z.string()).optional(),
  engines: z.record(z.string(), z.string()).optional(),
  bundleDependencies: z.union([z.array(z.string()), z.boolean()]).optional(),
});
const lockSchema = z.object({
  lockfileVersion: z.union([z.literal(2), z.literal(3)]),
  packages: z.record(z.string(), entrySchema),
});
type Entry = z.infer<typeof entrySchema>;

/**
 * A package-lock.json of npm 7 or newer with its package.json, every package of it from the registry and held to a
 * SHA-512. `registry` is where this gateway installs from.
 */
export function readPackageLock(
  files: { lock: Uint8Array; packageJson: Uint8Array | undefined },
  registry: string,
): LockedPackages {
  if (files.packageJson === undefined) throw refuse('it needs the package.json that it was made from');
  const manifest = readManifest(files.packageJson);
  const { packages } = readLock(files.lock);
  // Left out of what npm is given, and not by --omit=dev: npm does not believe what a lock says is for development,
  // and would fetch it, without the hash that is not asked of it here.
  const places = Object.entries(packages).filter(([place, { dev }]) => place !== '' && dev !== true);
  if (places.length > PACKAGES_MAX) throw refuse(`it names over ${PACKAGES_MAX} packages`);
  for (const [place, entry] of places) {
    const why = refusePlace(place) ?? refuseEntry(entry, registry);
    if (why !== undefined)
      throw refuse(`"packages" has ${JSON.stringify(place.slice(0, 200))}, which ${why}`);
  }
  const { name = 'server', version = '0.0.0', workspaces: _, devDependencies: _dev, ...rest } = manifest;
  const { devDependencies: _rootDev, ...root } = packages[''] ?? {};
  const kept = { ...Object.fromEntries(places), '': root };
  const lock = { name, version, lockfileVersion: 3, requires: true, packages: kept };
  return { packageJson: JSON.stringify({ name, version, ...rest }), lock: JSON.stringify(sortMembers(lock)) };
}

/** Whether anything of it would be installed. */
export function hasPackages({ lock }: LockedPackages): boolean {
  const { packages } = lockSchema.parse(JSON.parse(lock));
  return Object.keys(packages).some((place) => place !== '');
}

function readManifest(content: Uint8Array): z.infer<typeof manifestSchema> {
  const parsed = manifestSchema.safeParse(readJson(content, 'package.json'));
  if (!parsed.success) throw refuse(`package.json is not as npm writes it (${describe(parsed.error)})`);
  if (parsed.data.workspaces !== undefined) {
    throw refuse('package.json has "workspaces"; publish one package without them');
  }
  return parsed.data;
}

function readLock(content: Uint8Array): z.infer<typeof lockSchema> {
  const parsed = lockSchema.safeParse(readJson(content, 'package-lock.json'));
  if (parsed.success) return parsed.data;
  throw refuse(
    `it is not as npm 7 or newer writes it, with lockfileVersion 2 or 3 (${describe(parsed.error)})`,
  );
}

function refusePlace(place: string): string | undefined {
  const isDotted = place.split('/').some((segment) => segment === '.' || segment === '..');
  if (PLACE.test(place) && place.length <= PLACE_BYTES_MAX && !isDotted) return undefined;
  return 'is no folder below node_modules; linked and local packages cannot be installed here';
}

/** Why an entry may lead to something else than one known tarball of the registry. */
function refuseEntry(entry: Entry, registry: string): string | undefined {
  if (entry.link === true)
    return 'is a link to a folder; publish that package, or put its files into your own';
  if (entry.inBundle === true) return 'is bundled inside another package, without a hash of its own';
  if (entry.version === undefined || !VERSION.test(entry.version))
    return 'has no exact version from the registry';
  if (entry.resolved !== undefined && !isOfRegistry(entry.resolved, registry)) {
    return `comes from ${JSON.stringify(entry.resolved.slice(0, 200))} and not from the registry`;
  }
  if (entry.integrity === undefined || !INTEGRITY.test(entry.integrity)) {
    return 'has no "integrity" with a SHA-512; make the lock again with a newer npm';
  }
  return undefined;
}

/** The public registry too: npm asks the configured one for what a lock says is there. */
function isOfRegistry(resolved: string, registry: string): boolean {
  if (!URL.canParse(resolved)) return false;
  const { href } = new URL(resolved);
  const isBelow = [PUBLIC_REGISTRY, `${registry}/`].some((base) => href.startsWith(base));
  return isBelow && href === resolved && !href.includes('?') && !href.includes('#');
}

function readJson(content: Uint8Array, name: string): unknown {
  if (content.length > TEXT_BYTES_MAX) throw refuse(`${name} has over ${TEXT_BYTES_MAX} bytes`);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content));
  } catch {
    throw refuse(`${name} is not JSON`);
  }
}

function describe(error: z.ZodError): string {
  const [issue] = error.issues;
  return `${issue?.path.join('.').slice(0, 200) || 'its top'}: ${issue?.message ?? 'wrong'}`;
}

/** The same lock is the same text, in whatever order its packages were written. */
function sortMembers<T extends { packages: Record<string, Entry> }>(lock: T): T {
  const packages = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
  return { ...lock, packages: Object.fromEntries(packages) };
}

function refuse(why: string): Problem {
  return new Problem('invalid-code', { detail: `package-lock.json: ${why}.`, members: { field: 'files' } });
}
