import type { Uuid } from '../../core/ids.ts';
import type { Sql, Tx } from '../../db/index.ts';
import type { catalogServer, catalogVersion, catalogYank } from '../schema.ts';
import { searchVector } from '../store.ts';

type YankRow = typeof catalogYank.$inferSelect;

/** A version that may become the listing's, with what its server says of itself. */
export type LeftVersionRow = Pick<
  typeof catalogVersion.$inferSelect,
  'id' | 'version' | 'runtime' | 'toolNames'
> &
  Pick<typeof catalogServer.$inferSelect, 'description' | 'category'>;

export async function findYankable(
  tx: Tx,
  input: { serverId: Uuid; version: string },
): Promise<{ id: Uuid; logIndex: bigint | null; yankedAt: Date | null } | undefined> {
  const [row] = await tx<{ id: Uuid; logIndex: bigint | null; yankedAt: Date | null }[]>`
    SELECT v.id, y.log_index, y.yanked_at
    FROM catalog_version v LEFT JOIN catalog_yank y ON y.version_id = v.id
    WHERE v.server_id = ${input.serverId} AND v.version = ${input.version}`;
  return row;
}

/** The newest version that is not yanked, but this one. */
export async function findNewestLeft(
  tx: Tx,
  input: { serverId: Uuid; exceptId: Uuid },
): Promise<LeftVersionRow | undefined> {
  const [row] = await tx<LeftVersionRow[]>`
    SELECT v.id, v.version, v.runtime, v.tool_names, s.description, s.category
    FROM catalog_version v JOIN catalog_server s ON s.id = v.server_id
    WHERE v.server_id = ${input.serverId} AND v.id <> ${input.exceptId}
      AND NOT EXISTS (SELECT 1 FROM catalog_yank WHERE version_id = v.id)
    ORDER BY v.log_index DESC LIMIT 1`;
  return row;
}

/** Hosted code tells its language by what runs it. */
export async function setLatestVersion(
  tx: Tx,
  row: {
    serverId: Uuid;
    versionId: Uuid;
    runtime: LeftVersionRow['runtime'];
    searchNames: string;
    searchText: string;
  },
): Promise<void> {
  await tx`
    UPDATE catalog_server SET latest_version_id = ${row.versionId}, search = ${searchVector(tx, row)},
      language = CASE ${row.runtime}::text WHEN 'elf' THEN 'go' ELSE coalesce(${row.runtime}::text, language) END
    WHERE id = ${row.serverId}`;
}

export async function insertYank(tx: Tx, row: YankRow): Promise<void> {
  await tx`
    INSERT INTO catalog_yank (version_id, log_index, yanked_at)
    VALUES (${row.versionId}, ${row.logIndex}, ${row.yankedAt})`;
}

export async function findYank(sql: Sql, versionId: Uuid): Promise<Date | undefined> {
  const [row] = await sql<{ yankedAt: Date }[]>`
    SELECT yanked_at FROM catalog_yank WHERE version_id = ${versionId}`;
  return row?.yankedAt;
}
