import { webcrypto } from 'node:crypto';
import { endpointFiles, type Listing, writeManifest } from '../../catalog/index.ts';
import { archiveHash } from '../../core/archive.ts';
import { sha256Hex } from '../../core/bytes.ts';
import type { Uuid } from '../../core/ids.ts';
import { InvariantError } from '../../core/invariant.ts';
import { Problem } from '../../core/problem.ts';
import { encodeLeaf, findPublication, leafHashOf } from '../../provenance/index.ts';
import type { GatewayDeps } from '../deps.ts';

export type VersionVerdict = {
  verified: boolean;
  /** Each thing that was looked at, in words. */
  checks: { check: string; ok: boolean; detail: string }[];
  log_index: number;
  /** The entry of the log, from which anyone computes its hash. */
  entry: string | null;
  leaf_hash: string | null;
};

type VerifyDeps = Pick<GatewayDeps, 'catalog' | 'sql'>;

/** Nobody pays for it, and it reads and hashes as much as a publisher may upload. */
const UNDER_WAY_MAX = 4;

/** Verifies versions, each once for all who ask meanwhile, and few of them at a time. */
export function createVersionVerifier(deps: VerifyDeps): (listing: Listing) => Promise<VersionVerdict> {
  const underWay = new Map<Uuid, Promise<VersionVerdict>>();
  return (listing) => {
    const { id } = listing.version;
    const known = underWay.get(id);
    if (known) return known;
    if (underWay.size >= UNDER_WAY_MAX) {
      throw new Problem('too-many-requests', {
        detail: 'As many versions as may be verified at once are. Try again in a moment.',
        retryAfterSeconds: 1,
        isUncharged: true,
      });
    }
    const verifying = verifyVersion(deps, listing).finally(() => underWay.delete(id));
    underWay.set(id, verifying);
    return verifying;
  };
}

/** Holds what is stored of a version against the version log. */
async function verifyVersion(deps: VerifyDeps, { server, version }: Listing): Promise<VersionVerdict> {
  const leaf = await findPublication(deps.sql, { tool: server.name, version: version.version });
  const computed = await hashCode(deps, version);
  const entry = leaf && encodeLeaf(leaf);
  const checks = [
    {
      check: 'the stored code has the hash that the version names',
      ok: computed === version.codeSha256,
      detail: `computed sha256:${computed ?? 'unreadable'}, named sha256:${version.codeSha256}`,
    },
    {
      check: 'the log has exactly this version with this code',
      ok: leaf?.sha256 === version.codeSha256 && leaf.index === version.logIndex,
      detail: leaf ? `entry ${leaf.index} names sha256:${leaf.sha256}` : 'the log has no such version',
    },
    ...checkPins({ server, version }, leaf?.manifest),
  ];
  return {
    verified: checks.every(({ ok }) => ok),
    checks,
    log_index: Number(version.logIndex),
    entry: entry?.toString('ascii') ?? null,
    leaf_hash: entry ? leafHashOf(entry).toString('hex') : null,
  };
}

type Check = VersionVerdict['checks'][number];

/** The log names the manifest, and the manifest the tools and all else; of versions from before, the tools alone. */
function checkPins(
  { server, version }: Pick<Listing, 'server' | 'version'>,
  named: string | undefined,
): Check[] {
  const { manifest, toolsHash } = version;
  const told = named === undefined ? 'the log has no such version' : undefined;
  if (manifest === null) {
    const check = 'the log names the tools that are listed';
    return [{ check, ok: named === toolsHash, detail: told ?? `its entry names the tools sha256:${named}` }];
  }
  const expected = writeManifest({ ...version, name: server.name, tier: server.tier });
  return [
    {
      check: 'the log names the manifest that is stored',
      ok: named === sha256Hex(manifest),
      detail: told ?? `its entry names sha256:${named}, stored is sha256:${sha256Hex(manifest)}`,
    },
    {
      check:
        'the manifest says what is listed: code, tools, root, layer, limits, hosts, endpoint and signature',
      ok: expected === manifest,
      detail: expected === manifest ? `tools sha256:${toolsHash}` : `what is listed would be ${expected}`,
    },
  ];
}

/** Undefined when what is stored is not what was logged: loading refuses it. */
async function hashCode({ catalog }: VerifyDeps, version: Listing['version']): Promise<string | undefined> {
  // The code of a self-hosted server is the file that names its endpoint.
  if (version.endpointUrl !== null) return archiveHash(endpointFiles(version.endpointUrl));
  try {
    const { archive } = await catalog.loadCode(version);
    // Off the event loop, which a large archive would hold up.
    return Buffer.from(await webcrypto.subtle.digest('SHA-256', archive)).toString('hex');
  } catch (error) {
    if (error instanceof InvariantError) return undefined;
    throw error;
  }
}
