import type { Clock } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import type { Sql, Tx } from '../db/index.ts';
import type { Code, Layer } from '../execution/backend.ts';
import { type CodeOf, createCodeLoader } from './code-loader.ts';
import { readLayerParts } from './layers/layers.ts';
import type { Listing, Version } from './listing.ts';
import { createListings } from './listings.ts';
import {
  type Plan,
  type Publication,
  type Published,
  planPublication,
  publishServer,
  publishVersion,
} from './publish.ts';
import { toVersion } from './rows.ts';
import { type SearchInput, type SearchPage, search } from './search/search.ts';
import { describeVersion, findSignature, insertPublisher, listVersions, pauseServer } from './store.ts';
import type { Submission } from './submission.ts';
import { type Yanked, type YankInput, yankVersion } from './yank/yank.ts';

/** What is for sale, by whom, at what price, and the code behind it. */
export type Catalog = {
  /** Enters a publisher; safe to repeat. */
  ensurePublisher(tx: Tx, publisherId: Uuid): Promise<void>;
  /** What publishing would do now. Throws the `Problem` of a conflict that is plain already. */
  plan(input: { publisherId: Uuid; submission: Submission; serverId?: Uuid | undefined }): Promise<Plan>;
  /** A layer that a build stored, to be run with before a version names it. */
  openLayer(sha256: string): Layer;
  publishServer(tx: Tx, publication: Publication): Promise<Published>;
  publishVersion(tx: Tx, publication: Publication & { serverId: Uuid }): Promise<Published>;
  /** To be called once a publication, a pause or a yank is committed: this process shows it at once. */
  forget(serverId: Uuid): void;
  /** A server by id or name, at its newest or at one exact version. */
  findListing(idOrName: string, version?: string): Promise<Listing | undefined>;
  /** The code of a version, its SHA-256 compared, with its layer and root. */
  loadCode(version: CodeOf): Promise<Code>;
  search(input: SearchInput): Promise<SearchPage>;
  /** The versions of a server, newest first, at most a hundred. */
  listVersions(serverId: Uuid): Promise<(Version & { yankedAt: Date | undefined })[]>;
  /** The archive of a layer, part by part. */
  readLayer(sha256: string): Promise<{ bytes: number; parts: AsyncIterator<Uint8Array> }>;
  /** The signature of a version as it was sent; undefined when it has none. */
  findSignature(versionId: Uuid): Promise<string | undefined>;
  /** A version as its log entry names it. */
  describeVersion(
    versionId: Uuid,
  ): Promise<{ name: string; version: string; codeSha256: string; logIndex: bigint } | undefined>;
  /** Takes a server off sale until its next version. */
  pause(tx: Tx, serverId: Uuid, reason: string): Promise<void>;
  /** Takes a version back for good. */
  yank(tx: Tx, input: YankInput): Promise<Yanked>;
};

const LISTED_VERSIONS_MAX = 100;

export type CatalogDeps = {
  sql: Sql;
  clock: Clock;
  /** A layer of dependencies, which is read only when a jail wants it. */
  openLayer(sha256: string): Layer;
};

export function createCatalog(deps: CatalogDeps): Catalog {
  const { sql, clock } = deps;
  return {
    ensurePublisher: (tx, id) => insertPublisher(tx, { id, createdAt: clock.now() }),
    plan: (input) => planPublication(sql, { ...input, now: clock.now() }),
    openLayer: deps.openLayer,
    publishServer,
    publishVersion,
    ...createListings(deps),
    loadCode: createCodeLoader(deps),
    search: (input) => search(sql, input),
    async listVersions(serverId) {
      const rows = await listVersions(sql, { serverId, rowsMax: LISTED_VERSIONS_MAX });
      return rows.map((row) => ({ ...toVersion(row), yankedAt: row.yankedAt ?? undefined }));
    },
    readLayer: (sha256) => readLayerParts(sql, sha256),
    findSignature: (versionId) => findSignature(sql, versionId),
    describeVersion: (versionId) => describeVersion(sql, versionId),
    pause: (tx, id, reason) => pauseServer(tx, { id, reason, pausedAt: clock.now() }),
    yank: yankVersion,
  };
}
