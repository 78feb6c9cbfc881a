import { toWireNumber } from '../core/money.ts';
import type { Listing, ListingSummary } from './listing.ts';
import { toPricingJson } from './price-list.ts';

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
    changelog: version.changelog,
    published_at: version.createdAt,
    pricing: toPricingJson(prices),
    tools: listing.tools.map((tool) => ({ ...tool, price_mcents: toWireNumber(listing.priceOf(tool.name)) })),
  };
}

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
