import type { Listing } from '../../catalog/index.ts';
import { sha256Hex } from '../../core/bytes.ts';
import { InvariantError } from '../../core/invariant.ts';
import { encodeLeaf, leafHashOf, listPublications } from '../../provenance/index.ts';
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

/** Holds what is stored of a version against the version log, both read anew. */
export async function verifyVersion(
  deps: Pick<GatewayDeps, 'catalog' | 'sql'>,
  { server, version }: Listing,
): Promise<VersionVerdict> {
  const publications = await listPublications(deps.sql, server.name);
  const leaf = publications.find((one) => one.tool === server.name && one.version === version.version);
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
    {
      check: 'the log names the tools that are listed',
      ok: leaf?.manifest === version.toolsHash,
      detail: leaf
        ? `entry ${leaf.index} names the tools sha256:${leaf.manifest}`
        : 'the log has no such version',
    },
  ];
  return {
    verified: checks.every(({ ok }) => ok),
    checks,
    log_index: Number(version.logIndex),
    entry: entry?.toString('ascii') ?? null,
    leaf_hash: entry ? leafHashOf(entry).toString('hex') : null,
  };
}

/** Undefined when what is stored is not what was logged: loading refuses it. */
async function hashCode(
  { catalog }: Pick<GatewayDeps, 'catalog'>,
  version: Listing['version'],
): Promise<string | undefined> {
  try {
    return sha256Hex((await catalog.loadCode(version)).archive);
  } catch (error) {
    if (error instanceof InvariantError) return undefined;
    throw error;
  }
}
