import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPriceList, type Submission, type VersionLeaf } from '../../catalog/index.ts';
import { archiveHash } from '../../core/archive.ts';
import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import { Problem } from '../../core/problem.ts';
import { withTransaction } from '../../db/index.ts';
import { PLATFORM_PUBLISHER } from '../built-in.ts';
import type { GatewayDeps } from '../deps.ts';
import { logVersion } from '../publish.ts';
import type { BuiltInServer } from '../serve-mcp.ts';

const NAME = 'millicent';

/**
 * Lists the marketplace in its own catalog, like any publisher's server: a version for each change of its source,
 * in the log. Safe to repeat, and for many gateways at once. Answers its id in the catalog.
 */
export async function publishMarketplace(
  deps: Pick<GatewayDeps, 'sql' | 'clock' | 'ledger' | 'catalog'>,
  marketplace: Pick<BuiltInServer, 'face' | 'tools'>,
): Promise<Uuid> {
  const files = readSource();
  const listed = await deps.catalog.findListing(NAME);
  if (listed?.version.codeSha256 === archiveHash(files)) return listed.server.id;
  try {
    return await list(deps, marketplace, { files, listed });
  } catch (error) {
    // Another gateway that starts at this moment was quicker: what it listed is as good.
    if (!(error instanceof Problem) || error.type !== 'conflict') throw error;
    const other = await deps.catalog.findListing(NAME);
    invariant(other, 'the marketplace is listed by another gateway');
    return other.server.id;
  }
}

async function list(
  deps: Pick<GatewayDeps, 'sql' | 'clock' | 'ledger' | 'catalog'>,
  { face, tools }: Pick<BuiltInServer, 'face' | 'tools'>,
  { files, listed }: { files: ReadonlyMap<string, Buffer>; listed: Listed },
): Promise<Uuid> {
  const publisherId = PLATFORM_PUBLISHER;
  const submission = toSubmission(files, nextVersion(listed?.version.version));
  const published = await withTransaction(deps.sql, async (tx) => {
    await deps.ledger.openPublisher(tx, publisherId);
    await deps.catalog.ensurePublisher(tx, publisherId);
    const publication = {
      ...{ publisherId, submission, tools, face, rootSha256: null, layer: undefined },
      publishedAt: deps.clock.now(),
      appendLeaf: (leaf: VersionLeaf) => logVersion(tx, leaf),
    };
    return listed
      ? deps.catalog.publishVersion(tx, { ...publication, serverId: listed.server.id })
      : deps.catalog.publishServer(tx, publication);
  });
  deps.catalog.forget(published.serverId);
  return published.serverId;
}

type Listed = Awaited<ReturnType<GatewayDeps['catalog']['findListing']>>;

/** The source of this folder, which is all that the marketplace's tools are made of beside the gateway itself. */
function readSource(): ReadonlyMap<string, Buffer> {
  const folder = import.meta.dirname;
  const names = readdirSync(folder).filter((name) => /\.[jt]s$/.test(name));
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}

function nextVersion(latest: string | undefined): string {
  const [, minor = '-1'] = latest?.split('.') ?? [];
  return `1.${Number(minor) + 1}.0`;
}

function toSubmission(files: ReadonlyMap<string, Buffer>, version: string): Submission {
  return {
    ...{ name: NAME, version, tier: 'hobbyist', language: 'node', entrypoint: 'marketplace.ts', files },
    description:
      'The marketplace itself: search MCP servers, compare prices, call and pay, check receipts and versions.',
    category: ['marketplace', 'discovery'],
    license: 'MIT',
    ...{ repoUrl: null, changelog: null, limits: {}, hosts: [] },
    pricing: readPriceList({ model: 'free', amount: 0, tools: {}, free: null }),
  };
}
