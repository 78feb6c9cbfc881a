import type { Clock } from '../core/clock.ts';
import { isUuid, type Uuid } from '../core/ids.ts';
import type { Sql } from '../db/index.ts';
import type { ToolDefinition } from '../execution/outcome.ts';
import { createCache } from './cache.ts';
import type { Listing, Server, Version } from './listing.ts';
import { freeAllowanceOf, type PriceList, priceOf } from './price-list.ts';
import { toPriceList, toServer, toTools, toVersion } from './rows.ts';
import { isName } from './server-name.ts';
import { findHead, findVersion } from './store.ts';
import { isVersionNumber } from './version-number.ts';
import { findYank } from './yank/store.ts';

/** What may change about a server: its newest version, and whether that one is all it has left and yanked. */
type Head = { server: Server; prices: PriceList; latestVersion: string; latestYankedAt: Date | undefined };

/** Of a version that is not the newest. */
type YankState = { serverId: Uuid; yankedAt: Date | undefined };

type ToldVersion = { version: Version; tools: readonly ToolDefinition[]; bytes: number };

/** How long another gateway's publication, pause or yank may go unnoticed here. */
const HEAD_TTL_MS = 1_000;
const HEADS_MAX = 10_000;
const YANK_STATES_MAX = 10_000;
const TOOLS_BYTES_MAX = 32 * 1024 * 1024;

/** Finds listings. What never changes is read once; the rest is a second old at most. */
export function createListings({ sql, clock }: { sql: Sql; clock: Clock }) {
  const heads = createCache<Head>({ weightMax: HEADS_MAX, weigh: () => 1, ttlMs: HEAD_TTL_MS }, clock);
  const yanks = createCache<YankState>(
    { weightMax: YANK_STATES_MAX, weigh: () => 1, ttlMs: HEAD_TTL_MS },
    clock,
  );
  const versions = createCache<ToldVersion>(
    { weightMax: TOOLS_BYTES_MAX, weigh: ({ bytes }) => bytes, ttlMs: Number.POSITIVE_INFINITY },
    clock,
  );
  return {
    async findListing(idOrName: string, version?: string): Promise<Listing | undefined> {
      const by = readReference(idOrName);
      if (!by || (version !== undefined && !isVersionNumber(version))) return undefined;
      const head = await heads.get(idOrName, () => readHead(sql, by));
      if (!head) return undefined;
      const wanted = { serverId: head.server.id, version: version ?? head.latestVersion };
      const told = await versions.get(`${wanted.serverId} ${wanted.version}`, () => readVersion(sql, wanted));
      if (!told) return undefined;
      if (wanted.version === head.latestVersion) return toListing(head, told, head.latestYankedAt);
      const state = await yanks.get(told.version.id, () => readYank(sql, wanted.serverId, told.version.id));
      return toListing(head, told, state?.yankedAt);
    },
    forget(serverId: Uuid): void {
      heads.forget(({ server }) => server.id === serverId);
      yanks.forget((state) => state.serverId === serverId);
    },
  };
}

function readReference(idOrName: string): { id: Uuid } | { name: string } | undefined {
  if (isUuid(idOrName)) return { id: idOrName };
  return isName(idOrName) ? { name: idOrName } : undefined;
}

async function readHead(sql: Sql, by: { id: Uuid } | { name: string }): Promise<Head | undefined> {
  const row = await findHead(sql, by);
  if (!row) return undefined;
  const { latestVersion, latestYankedAt } = row;
  return {
    server: toServer(row),
    prices: toPriceList(row),
    ...{ latestVersion, latestYankedAt: latestYankedAt ?? undefined },
  };
}

async function readYank(sql: Sql, serverId: Uuid, versionId: Uuid): Promise<YankState> {
  return { serverId, yankedAt: await findYank(sql, versionId) };
}

async function readVersion(
  sql: Sql,
  wanted: { serverId: Uuid; version: string },
): Promise<ToldVersion | undefined> {
  const row = await findVersion(sql, wanted);
  return row && { version: toVersion(row), tools: toTools(row), bytes: JSON.stringify(row.tools).length };
}

function toListing(
  { server, prices }: Head,
  { version, tools }: ToldVersion,
  yankedAt: Date | undefined,
): Listing {
  return {
    ...{ server, version, tools, prices, yankedAt },
    priceOf: (toolName) => priceOf(prices, toolName),
    settle: prices.settle,
    freeAllowanceOf: (toolName) => freeAllowanceOf(prices, toolName),
  };
}
