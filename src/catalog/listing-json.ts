import { sha256Hex } from '../core/bytes.ts';
import { toWireNumber } from '../core/money.ts';
import type { Runtime } from '../execution/backend.ts';
import { toLimitsJson } from './limits-json.ts';
import type { Listing, ListingSummary, Version } from './listing.ts';
import { toPricingJson } from './price-list.ts';
import type { Language } from './submission.ts';

/** A listed server among others, as lists spell it. */
export function toSummaryJson({
  server,
  version,
  toolNames,
  prices,
}: ListingSummary): Record<string, unknown> {
  return {
    ...toServerJson(server),
    version: version.version,
    code_hash: `sha256:${version.codeSha256}`,
    log_index: Number(version.logIndex),
    tools: toolNames,
    pricing: toPricingJson(prices),
  };
}

/** One listed server with its tools and what each costs; `isLogged` when a signed checkpoint covers its leaf. */
export function toListingJson(
  listing: Listing,
  { isLogged }: { isLogged: boolean },
): Record<string, unknown> {
  const { server, version, prices } = listing;
  return {
    ...toServerJson(server),
    version: version.version,
    version_id: version.id,
    code_hash: `sha256:${version.codeSha256}`,
    ...toPinsJson(version),
    verified: isLogged ? toVerifiedJson(listing) : null,
    ...toYankJson(listing),
    entrypoint: version.entrypoint,
    ...toHostingJson({ language: server.language, ...version }),
    changelog: version.changelog,
    published_at: version.createdAt,
    pricing: toPricingJson(prices),
    tools: listing.tools.map((tool) => ({ ...tool, price_mcents: toWireNumber(listing.priceOf(tool.name)) })),
  };
}

/** One version of a server among its others. */
export function toVersionJson(version: Version & { yankedAt: Date | undefined }): Record<string, unknown> {
  return {
    version: version.version,
    version_id: version.id,
    code_hash: `sha256:${version.codeSha256}`,
    ...toPinsJson(version),
    ...toYankJson(version),
    changelog: version.changelog,
    published_at: version.createdAt,
  };
}

/** What an auditor holds a version against. */
function toPinsJson({ toolsHash, manifest, logIndex, isDeterministic }: Version): Record<string, unknown> {
  return {
    tools_hash: `sha256:${toolsHash}`,
    manifest_hash: manifest && `sha256:${sha256Hex(manifest)}`,
    log_index: Number(logIndex),
    deterministic: isDeterministic,
  };
}

function toYankJson({ yankedAt }: { yankedAt: Date | undefined }): Record<string, unknown> {
  return yankedAt ? { yanked: true, yanked_at: yankedAt } : { yanked: false };
}

/** Only what is signed, logged and not taken back is verified; the date is that of the leaf, in UTC. */
function toVerifiedJson({ version, yankedAt }: Listing): Record<string, unknown> | null {
  const { signature, codeSha256, createdAt, logIndex } = version;
  if (!signature || yankedAt) return null;
  const day = createdAt.toISOString().slice(0, 10);
  return {
    statement: `v${version.version} verified on ${day}, sha256:${codeSha256}`,
    key: { format: signature.format, id: signature.keyId },
    signature_hash: `sha256:${signature.sha256}`,
    log_index: Number(logIndex),
  };
}

/**
 * What a version runs on and inside which bounds. Where a self-hosted server answers is for its publisher alone:
 * callers who knew it could go around the gateway.
 */
export function toHostingJson(version: Hosting): Record<string, unknown> {
  const { rootSha256, layerSha256, hosts, limits, runtime } = version;
  // Of an older version the runtime tells, for its server's language is that of the newest.
  const language = runtime === null ? version.language : LANGUAGES[runtime];
  return {
    runtime: { language, root_hash: rootSha256 && `sha256:${rootSha256}` },
    layer_hash: layerSha256 && `sha256:${layerSha256}`,
    limits: toLimitsJson(limits, { isHosted: runtime !== null }),
    network: { hosts },
  };
}

const LANGUAGES = { python: 'python', node: 'node', elf: 'go' } as const satisfies Record<Runtime, Language>;

export type Hosting = Pick<Version, 'rootSha256' | 'layerSha256' | 'hosts' | 'limits' | 'runtime'> & {
  language: string | null;
};

function toServerJson(server: Listing['server']): Record<string, unknown> {
  return {
    id: server.id,
    name: server.name,
    description: server.description,
    category: server.category,
    language: server.language,
    tier: server.tier,
    license: server.license,
    repo_url: server.repoUrl,
    created_at: server.createdAt,
    updated_at: server.updatedAt,
    ...(server.paused ? { paused_at: server.paused.since, pause_reason: server.paused.reason } : {}),
  };
}
