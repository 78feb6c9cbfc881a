import type { Uuid } from '../core/ids.ts';
import type { Queryable, Sql, Tx } from '../db/index.ts';
import type { ToolDefinition } from '../execution/outcome.ts';
import type { FreeJson } from './price-list.ts';
import type { catalogPriceList, catalogServer, catalogVersion } from './schema.ts';

type ServerColumns = typeof catalogServer.$inferSelect;
type VersionColumns = typeof catalogVersion.$inferSelect;
type PriceListColumns = typeof catalogPriceList.$inferSelect;

export type ServerRow = Omit<ServerColumns, 'search' | 'listedAmountMcents' | 'latestVersionId'>;
export type PriceListRow = Pick<PriceListColumns, 'model' | 'amountMcents' | 'tools' | 'free' | 'settle'>;
/** A server with the number of its newest version and the prices of today. */
export type HeadRow = ServerRow & PriceListRow & { latestVersion: string; latestYankedAt: Date | null };
/** `toolsHash` proves what `tools` is. */
export type VersionRow = Omit<VersionColumns, 'serverId' | 'toolNames' | 'metadataHash' | 'signature'> & {
  signatureSha256: string | null;
};
export type VersionKeyRow = Pick<
  VersionColumns,
  'id' | 'version' | 'codeSha256' | 'metadataHash' | 'logIndex'
> & { isYanked: boolean };

/** What a listing says of itself, with the words it is found by. */
export type ServerFace = Pick<
  ServerColumns,
  'description' | 'category' | 'language' | 'license' | 'repoUrl' | 'latestVersionId' | 'listedAmountMcents'
> & { searchNames: string; searchText: string; updatedAt: Date };
export type NewServerRow = ServerFace & Pick<ServerColumns, 'id' | 'name' | 'publisherId' | 'tier'>;
export type NewVersionRow = Omit<VersionColumns, 'tools' | 'hosts'> & {
  tools: readonly ToolDefinition[];
  hosts: readonly string[];
};

export async function insertPublisher(tx: Tx, row: { id: Uuid; createdAt: Date }): Promise<void> {
  await tx`
    INSERT INTO catalog_publisher (id, created_at) VALUES (${row.id}, ${row.createdAt})
    ON CONFLICT (id) DO NOTHING`;
}

/** Lets one publication of a publisher in at a time; false when there is no such publisher. */
export async function lockPublisher(tx: Tx, id: Uuid): Promise<boolean> {
  const rows = await tx`SELECT 1 FROM catalog_publisher WHERE id = ${id} FOR UPDATE`;
  return rows.length > 0;
}

/** How many versions a publisher published since then, counted up to `countMax`, and the bytes of all its versions. */
export async function findAllotmentUse(
  sql: Queryable,
  input: { publisherId: Uuid; since: Date; countMax: number },
): Promise<{ count: number; oldest: Date | null; storedBytes: bigint }> {
  const [row] = await sql<{ count: number; oldest: Date | null; storedBytes: bigint }[]>`
    SELECT count(recent.created_at)::int AS count, min(recent.created_at) AS oldest,
      coalesce((SELECT stored_bytes FROM catalog_publisher WHERE id = ${input.publisherId}), 0) AS stored_bytes
    FROM (SELECT v.created_at FROM catalog_version v JOIN catalog_server s ON s.id = v.server_id
      WHERE s.publisher_id = ${input.publisherId} AND v.created_at > ${input.since}
      ORDER BY v.created_at DESC LIMIT ${input.countMax}) recent`;
  return row ?? { count: 0, oldest: null, storedBytes: 0n };
}

/** Whether a publisher has a version with this code, and one with this layer. */
export async function findStored(
  tx: Tx,
  input: { publisherId: Uuid; codeSha256: string; layerSha256: string | null },
): Promise<{ hasCode: boolean; hasLayer: boolean }> {
  const [row] = await tx<{ hasCode: boolean | null; hasLayer: boolean | null }[]>`
    SELECT bool_or(v.code_sha256 = ${input.codeSha256}) AS has_code,
      bool_or(v.layer_sha256 = ${input.layerSha256}) AS has_layer
    FROM catalog_version v JOIN catalog_server s ON s.id = v.server_id
    WHERE s.publisher_id = ${input.publisherId}
      AND (v.code_sha256 = ${input.codeSha256} OR v.layer_sha256 = ${input.layerSha256})`;
  return { hasCode: row?.hasCode ?? false, hasLayer: row?.hasLayer ?? false };
}

export async function addStoredBytes(tx: Tx, input: { publisherId: Uuid; bytes: number }): Promise<void> {
  await tx`
    UPDATE catalog_publisher SET stored_bytes = stored_bytes + ${input.bytes} WHERE id = ${input.publisherId}`;
}

/** Takes a namespace that is free, and waits for a racer that takes it at the same time. */
export async function claimNamespace(
  tx: Tx,
  row: { namespace: string; publisherId: Uuid; createdAt: Date },
): Promise<void> {
  await tx`
    INSERT INTO catalog_namespace (namespace, publisher_id, created_at)
    VALUES (${row.namespace}, ${row.publisherId}, ${row.createdAt})
    ON CONFLICT (namespace) DO NOTHING`;
}

export async function findNamespaceOwner(sql: Queryable, namespace: string): Promise<Uuid | undefined> {
  const [row] = await sql<{ publisherId: Uuid }[]>`
    SELECT publisher_id FROM catalog_namespace WHERE namespace = ${namespace}`;
  return row?.publisherId;
}

export async function countNamespaces(sql: Queryable, publisherId: Uuid): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM catalog_namespace WHERE publisher_id = ${publisherId}`;
  return row?.count ?? 0;
}

export async function findServerId(sql: Queryable, name: string): Promise<Uuid | undefined> {
  const [row] = await sql<{ id: Uuid }[]>`SELECT id FROM catalog_server WHERE name = ${name}`;
  return row?.id;
}

/** False when the name is taken; a racer that is about to take it is waited for. */
export async function insertServer(tx: Tx, row: NewServerRow): Promise<boolean> {
  const rows = await tx`
    INSERT INTO catalog_server (id, name, publisher_id, tier, description, category, language, license,
      repo_url, latest_version_id, listed_amount_mcents, search, created_at, updated_at)
    VALUES (${row.id}, ${row.name}, ${row.publisherId}, ${row.tier}, ${row.description},
      ${row.category}::text[], ${row.language}, ${row.license}, ${row.repoUrl}, ${row.latestVersionId},
      ${row.listedAmountMcents}, ${searchVector(tx, row)}, ${row.updatedAt}, ${row.updatedAt})
    ON CONFLICT (name) DO NOTHING
    RETURNING id`;
  return rows.length > 0;
}

/** What a new version says replaces what the listing said, and ends a pause. */
export async function updateServer(tx: Tx, id: Uuid, row: ServerFace): Promise<void> {
  await tx`
    UPDATE catalog_server SET description = ${row.description}, category = ${row.category}::text[],
      language = ${row.language}, license = ${row.license}, repo_url = ${row.repoUrl},
      latest_version_id = ${row.latestVersionId}, listed_amount_mcents = ${row.listedAmountMcents},
      search = ${searchVector(tx, row)}, updated_at = ${row.updatedAt}, paused_at = NULL, pause_reason = NULL
    WHERE id = ${id}`;
}

/** The name of a publisher's own server; the row stays locked, so that its versions come one by one. */
export async function lockServer(
  tx: Tx,
  input: { id: Uuid; publisherId: Uuid },
): Promise<Pick<ServerColumns, 'name' | 'tier'> | undefined> {
  const [row] = await tx<Pick<ServerColumns, 'name' | 'tier'>[]>`
    SELECT name, tier FROM catalog_server WHERE id = ${input.id} AND publisher_id = ${input.publisherId} FOR UPDATE`;
  return row;
}

export async function findServerOf(
  sql: Queryable,
  input: { id: Uuid; publisherId: Uuid },
): Promise<Pick<ServerColumns, 'name' | 'tier'> | undefined> {
  const [row] = await sql<Pick<ServerColumns, 'name' | 'tier'>[]>`
    SELECT name, tier FROM catalog_server WHERE id = ${input.id} AND publisher_id = ${input.publisherId}`;
  return row;
}

/** The first pause keeps its time and reason. */
export async function pauseServer(
  tx: Tx,
  input: { id: Uuid; reason: string; pausedAt: Date },
): Promise<void> {
  await tx`
    UPDATE catalog_server SET paused_at = ${input.pausedAt}, pause_reason = ${input.reason}
    WHERE id = ${input.id} AND paused_at IS NULL`;
}

export async function insertCode(
  tx: Tx,
  row: { sha256: string; archive: Buffer; createdAt: Date },
): Promise<void> {
  await tx`
    INSERT INTO catalog_code (sha256, archive, size, created_at)
    VALUES (${row.sha256}, ${row.archive}, ${row.archive.length}, ${row.createdAt})
    ON CONFLICT (sha256) DO NOTHING`;
}

export async function findArchive(sql: Sql, sha256: string): Promise<Buffer | undefined> {
  const [row] = await sql<{ archive: Buffer }[]>`SELECT archive FROM catalog_code WHERE sha256 = ${sha256}`;
  return row?.archive;
}

export async function insertVersion(tx: Tx, row: NewVersionRow): Promise<void> {
  await tx`
    INSERT INTO catalog_version (id, server_id, version, code_sha256, runtime, entrypoint, root_sha256,
      layer_sha256, limits, hosts, face, endpoint_url, tools, tool_names,
      tools_hash, metadata_hash, changelog, manifest, signature, signature_format, signature_key_id,
      is_deterministic, log_index, created_at)
    VALUES (${row.id}, ${row.serverId}, ${row.version}, ${row.codeSha256}, ${row.runtime}, ${row.entrypoint},
      ${row.rootSha256}, ${row.layerSha256}, ${JSON.stringify(row.limits)}::text::json, ${[...row.hosts]}::text[],
      ${JSON.stringify(row.face)}::text::json, ${row.endpointUrl},
      ${JSON.stringify(row.tools)}::text::json, ${row.toolNames}::text[], ${row.toolsHash}, ${row.metadataHash},
      ${row.changelog}, ${row.manifest}, ${row.signature}, ${row.signatureFormat}, ${row.signatureKeyId},
      ${row.isDeterministic}, ${row.logIndex}, ${row.createdAt})`;
}

/** The newest version, yanked or not, and the one of this number where there is one. */
export async function findVersionKeys(
  sql: Queryable,
  input: { serverId: Uuid; version: string },
): Promise<{ latest: VersionKeyRow | undefined; same: VersionKeyRow | undefined }> {
  const rows = await sql<(VersionKeyRow & { isLatest: boolean })[]>`
    SELECT v.id, v.version, v.code_sha256, v.metadata_hash, v.log_index,
      v.log_index = newest.log_index AS is_latest,
      EXISTS (SELECT 1 FROM catalog_yank WHERE version_id = v.id) AS is_yanked
    FROM catalog_version v
    CROSS JOIN (SELECT max(log_index) AS log_index FROM catalog_version
      WHERE server_id = ${input.serverId}) newest
    WHERE v.server_id = ${input.serverId}
      AND (v.version = ${input.version} OR v.log_index = newest.log_index)`;
  return {
    latest: rows.find((row) => row.isLatest),
    same: rows.find((row) => row.version === input.version),
  };
}

export async function findVersion(
  sql: Sql,
  input: { serverId: Uuid; version: string },
): Promise<VersionRow | undefined> {
  const [row] = await sql<VersionRow[]>`
    SELECT id, version, code_sha256, runtime, entrypoint, root_sha256, layer_sha256, limits, hosts,
      face, endpoint_url, tools, tools_hash, changelog, manifest, signature_format, signature_key_id,
      encode(sha256(convert_to(signature, 'UTF8')), 'hex') AS signature_sha256, is_deterministic, log_index, created_at
    FROM catalog_version WHERE server_id = ${input.serverId} AND version = ${input.version}`;
  return row;
}

/** Newest publication first, by the order of the log. */
export function listVersions(
  sql: Sql,
  input: { serverId: Uuid; rowsMax: number },
): Promise<(Omit<VersionRow, 'tools'> & { yankedAt: Date | null })[]> {
  return sql<(Omit<VersionRow, 'tools'> & { yankedAt: Date | null })[]>`
    SELECT id, version, code_sha256, runtime, entrypoint, root_sha256, layer_sha256, limits, hosts,
      face, endpoint_url, tools_hash, changelog, manifest, signature_format, signature_key_id,
      encode(sha256(convert_to(signature, 'UTF8')), 'hex') AS signature_sha256, is_deterministic, v.log_index, created_at,
      y.yanked_at
    FROM catalog_version v LEFT JOIN catalog_yank y ON y.version_id = v.id
    WHERE server_id = ${input.serverId}
    ORDER BY v.log_index DESC LIMIT ${input.rowsMax}`;
}

export async function findSignature(sql: Sql, id: Uuid): Promise<string | undefined> {
  const [row] = await sql<
    { signature: string | null }[]
  >`SELECT signature FROM catalog_version WHERE id = ${id}`;
  return row?.signature ?? undefined;
}

export async function describeVersion(
  sql: Sql,
  id: Uuid,
): Promise<{ name: string; version: string; codeSha256: string; logIndex: bigint } | undefined> {
  const [row] = await sql<{ name: string; version: string; codeSha256: string; logIndex: bigint }[]>`
    SELECT s.name, v.version, v.code_sha256, v.log_index
    FROM catalog_version v JOIN catalog_server s ON s.id = v.server_id WHERE v.id = ${id}`;
  return row;
}

/** Appends to a server's price lists. The caller holds the server's row, so numbers have no gap. */
export async function insertPriceList(
  tx: Tx,
  row: Omit<PriceListColumns, 'number' | 'tools' | 'free'> & {
    tools: Record<string, number>;
    free: FreeJson | null;
  },
): Promise<void> {
  await tx`
    INSERT INTO catalog_price_list (server_id, number, id, model, amount_mcents, tools, free, settle, created_at)
    SELECT ${row.serverId}, coalesce(max(number), 0) + 1, ${row.id}, ${row.model}, ${row.amountMcents}::bigint,
      ${tx.json(row.tools)}, ${row.free && tx.json(row.free)}::jsonb, ${row.settle}, ${row.createdAt}::timestamptz
    FROM catalog_price_list WHERE server_id = ${row.serverId}`;
}

export async function findPriceList(sql: Queryable, serverId: Uuid): Promise<PriceListRow | undefined> {
  const [row] = await sql<PriceListRow[]>`
    SELECT model, amount_mcents, tools, free, settle FROM catalog_price_list
    WHERE server_id = ${serverId} ORDER BY number DESC LIMIT 1`;
  return row;
}

export async function findHead(sql: Sql, by: { id: Uuid } | { name: string }): Promise<HeadRow | undefined> {
  const where = 'id' in by ? sql`s.id = ${by.id}` : sql`s.name = ${by.name}`;
  const [row] = await sql<HeadRow[]>`
    SELECT s.id, s.name, s.publisher_id, s.tier, s.description, s.category, s.language, s.license, s.repo_url,
      s.created_at, s.updated_at, s.paused_at, s.pause_reason, v.version AS latest_version,
      y.yanked_at AS latest_yanked_at, p.model, p.amount_mcents, p.tools, p.free, p.settle
    FROM catalog_server s
    JOIN catalog_version v ON v.id = s.latest_version_id
    LEFT JOIN catalog_yank y ON y.version_id = v.id
    CROSS JOIN LATERAL (SELECT model, amount_mcents, tools, free, settle FROM catalog_price_list
      WHERE server_id = s.id ORDER BY number DESC LIMIT 1) p
    WHERE ${where}`;
  return row;
}

/** Names count more than text. Text is found by its words as they stand and by their English stems. */
export function searchVector(sql: Queryable, row: Pick<ServerFace, 'searchNames' | 'searchText'>) {
  return sql`setweight(to_tsvector('simple', ${row.searchNames}), 'A')
    || setweight(to_tsvector('simple', ${row.searchText}), 'B')
    || setweight(to_tsvector('english', ${row.searchText}), 'B')`;
}
