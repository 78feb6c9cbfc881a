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

/** One listed server with its tools and what each costs. */
export function toListingJson(listing: Listing): Record<string, unknown> {
  const { server, version, prices } = listing;
  return {
    ...toServerJson(server),
    version: version.version,
    version_id: version.id,
    code_hash: `sha256:${version.codeSha256}`,
    tools_hash: `sha256:${version.toolsHash}`,
    log_index: Number(version.logIndex),
    entrypoint: version.entrypoint,
    ...toHostingJson({ language: server.language, ...version }),
    changelog: version.changelog,
    published_at: version.createdAt,
    pricing: toPricingJson(prices),
    tools: listing.tools.map((tool) => ({ ...tool, price_mcents: toWireNumber(listing.priceOf(tool.name)) })),
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
