import { Problem } from '../core/problem.ts';
import { type Bundle, decodeLeaf, findPublication, LogDivergedError } from '../provenance/index.ts';
import { findBuiltInManifest } from './built-in.ts';
import type { GatewayDeps } from './deps.ts';

type BundleSources = Pick<GatewayDeps, 'sql' | 'catalog' | 'logs' | 'bundles'>;

/** Which leaf, and the text that its `manifest` is the hash of. */
type Subject = { leafIndex: number; manifest: string | null };

/** Checkpoints are signed every second; a second gateway may hold the log for another. */
const RETRY_SECONDS = 2;

/** The proof bundle of a version, by the id or name of its server. Throws the `Problem` that says why there is none. */
export async function bundleOfVersion(
  deps: BundleSources,
  input: { server: string; version: string },
): Promise<Bundle> {
  const subject = await findVersion(deps, input);
  if (!subject)
    throw new Problem('not-found', { detail: 'There is no such version of a server with this id or name.' });
  return prove(deps, subject);
}

/** The proof bundle of a leaf of the version log, whatever it says. */
export async function bundleOfLeaf(deps: BundleSources, leafIndex: number): Promise<Bundle> {
  const [found] = await deps.logs.versions.readEntries({ fromIndex: leafIndex, entriesMax: 1 });
  if (found?.leafIndex !== leafIndex) throw noSuchLeaf();
  const leaf = decodeLeaf(found.entry);
  if (leaf?.kind !== 'publish') return prove(deps, { leafIndex, manifest: null });
  const subject = await findVersion(deps, { server: leaf.tool, version: leaf.version });
  return prove(deps, { leafIndex, manifest: subject?.leafIndex === leafIndex ? subject.manifest : null });
}

async function findVersion(
  { sql, catalog }: BundleSources,
  { server, version }: { server: string; version: string },
): Promise<Subject | undefined> {
  const listing = await catalog.findListing(server, version);
  if (listing) return { leafIndex: Number(listing.version.logIndex), manifest: listing.version.manifest };
  // Our own tools are in the log and in no catalog.
  const leaf = await findPublication(sql, { tool: server, version });
  if (!leaf) return undefined;
  const manifest = await findBuiltInManifest(sql, { name: server, version });
  return { leafIndex: Number(leaf.index), manifest: manifest ?? null };
}

async function prove({ bundles }: BundleSources, subject: Subject): Promise<Bundle> {
  const made = await bundles.prove(subject).catch((cause: unknown) => {
    if (!(cause instanceof LogDivergedError)) throw cause;
    const detail =
      'The log is not what was signed: nothing of it is proven until its operator has looked into it.';
    throw new Problem('unavailable', { detail, cause, retryAfterSeconds: 60 });
  });
  switch (made.kind) {
    case 'made':
      return made.bundle;
    case 'absent':
      throw noSuchLeaf();
    case 'unsigned':
      throw new Problem('unavailable', {
        detail: 'No signed checkpoint holds this leaf yet; the next one does.',
        retryAfterSeconds: RETRY_SECONDS,
      });
    default:
      return made satisfies never;
  }
}

function noSuchLeaf(): Problem {
  return new Problem('not-found', { detail: 'The version log has no leaf with this index.' });
}
