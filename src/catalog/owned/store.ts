import type { Uuid } from '../../core/ids.ts';
import type { Queryable } from '../../db/index.ts';

/** A server of a publisher, with every version it has had. */
export type OwnedServer = { id: Uuid; name: string; versionIds: Uuid[] };

/** In the order of their names. */
export function listOwnedServers(sql: Queryable, publisherId: Uuid): Promise<OwnedServer[]> {
  return sql<OwnedServer[]>`
    SELECT s.id, s.name, array_agg(v.id) AS version_ids
    FROM catalog_server s JOIN catalog_version v ON v.server_id = s.id
    WHERE s.publisher_id = ${publisherId} GROUP BY s.id, s.name ORDER BY s.name COLLATE "C"`;
}
