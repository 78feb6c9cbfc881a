import type { Uuid } from '../../core/ids.ts';
import type { Fragment, Sql } from '../../db/index.ts';
import type { PriceListRow, ServerRow } from '../store.ts';
import type { Position, Sort } from './cursor.ts';

export type SummaryRow = ServerRow &
  PriceListRow & {
    versionId: Uuid;
    version: string;
    codeSha256: string;
    logIndex: bigint;
    versionCreatedAt: Date;
    toolNames: string[];
    /** What `sort` ordered it by, as a cursor spells it. */
    sortKey: string;
  };

export type SearchQuery = {
  /** Every one has to be found, or its beginning; undefined to list everything, at least one otherwise. */
  words: readonly string[] | undefined;
  category: string | undefined;
  tier: string | undefined;
  sort: Sort;
  after: Position | undefined;
  rowsMax: number;
};

/** The next servers in the order of `sort`. Paused ones are not for sale, so they are not listed. */
export function searchServers(sql: Sql, query: SearchQuery): Promise<SummaryRow[]> {
  const match = matchWords(sql, query.words ?? []);
  const order = ORDERS[query.sort](sql, match);
  const { words, category, tier, after } = query;
  return sql<SummaryRow[]>`
    WITH page AS (
      SELECT s.*, ${order.key} AS sort_key_value FROM catalog_server s
      WHERE s.paused_at IS NULL
        ${words ? sql`AND s.search @@ ${match}` : sql``}
        ${category === undefined ? sql`` : sql`AND s.category @> ARRAY[${category}]::text[]`}
        ${tier === undefined ? sql`` : sql`AND s.tier = ${tier}`}
        ${after ? sql`AND ${order.isAfter(after)}` : sql``}
      ORDER BY ${order.by} LIMIT ${query.rowsMax})
    SELECT s.id, s.name, s.publisher_id, s.tier, s.description, s.category, s.language, s.license, s.repo_url,
      s.created_at, s.updated_at, s.paused_at, s.pause_reason, ${order.text} AS sort_key,
      v.id AS version_id, v.version, v.code_sha256, v.log_index, v.created_at AS version_created_at,
      v.tool_names, p.model, p.amount_mcents, p.tools, p.free
    FROM page s
    JOIN catalog_version v ON v.id = s.latest_version_id
    CROSS JOIN LATERAL (SELECT model, amount_mcents, tools, free FROM catalog_price_list
      WHERE server_id = s.id ORDER BY number DESC LIMIT 1) p
    ORDER BY ${order.by}`;
}

type Order = { key: Fragment; text: Fragment; by: Fragment; isAfter(position: Position): Fragment };

/** One index for each but relevance, which no index can know. The id decides between equals. */
const ORDERS: Record<Sort, (sql: Sql, match: Fragment) => Order> = {
  new: (sql) => ({
    key: sql`s.created_at`,
    text: sql`to_char(s.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`,
    by: sql`s.created_at DESC, s.id DESC`,
    isAfter: ({ key, id }) => sql`(s.created_at, s.id) < (${key}::text::timestamptz, ${id}::uuid)`,
  }),
  name: (sql) => ({
    key: sql`s.name`,
    text: sql`s.name`,
    by: sql`s.name COLLATE "C"`,
    isAfter: ({ key }) => sql`s.name COLLATE "C" > ${key}`,
  }),
  price: (sql) => ({
    key: sql`s.listed_amount_mcents`,
    text: sql`s.listed_amount_mcents::text`,
    by: sql`s.listed_amount_mcents, s.id`,
    isAfter: ({ key, id }) => sql`(s.listed_amount_mcents, s.id) > (${key}::text::bigint, ${id}::uuid)`,
  }),
  relevance: (sql, match) => {
    // A whole number, because a float does not survive the way through a cursor.
    const rank = sql`(ts_rank(s.search, ${match}) * 1000000)::int`;
    return {
      key: rank,
      text: sql`(${rank})::text`,
      by: sql`${rank} DESC, s.id DESC`,
      isAfter: ({ key, id }) => sql`(${rank}, s.id) < (${key}::text::int, ${id}::uuid)`,
    };
  },
};

/** Every word, or its beginning, as it stands or by its English stem. Words are letters and digits only. */
function matchWords(sql: Sql, words: readonly string[]): Fragment {
  const pattern = words.map((word) => `'${word}':*`).join(' & ');
  return sql`(to_tsquery('simple', ${pattern}) || to_tsquery('english', ${pattern}))`;
}
