import type { Sql } from '../../db/index.ts';
import type { ListingSummary, ServerTier } from '../listing.ts';
import { toPriceList, toServer } from '../rows.ts';
import { decodeCursor, encodeCursor, type Sort } from './cursor.ts';
import { type SummaryRow, searchServers } from './store.ts';
import { wordsOf } from './words.ts';

export type SearchInput = {
  /** Words that name, description, categories or tool names have to hold, all of them. */
  q?: string | undefined;
  category?: string | undefined;
  tier?: ServerTier | undefined;
  /** Best match first when there is a `q`, newest first otherwise. */
  sort?: Sort | undefined;
  limit?: number | undefined;
  /** The `nextCursor` of the page before. */
  cursor?: string | undefined;
};

export type SearchPage = { servers: ListingSummary[]; nextCursor: string | undefined };

const ROWS_DEFAULT = 50;
const ROWS_MAX = 100;
const WORDS_MAX = 8;

/** One page of the servers that are for sale. */
export async function search(sql: Sql, input: SearchInput): Promise<SearchPage> {
  const words = input.q === undefined || input.q === '' ? undefined : wordsOf(input.q).slice(0, WORDS_MAX);
  // A question without a word in it is answered by nothing, not by everything.
  if (words?.length === 0) return { servers: [], nextCursor: undefined };
  const sort = chooseSort(input.sort, words);
  const limit = Math.min(Math.max(input.limit ?? ROWS_DEFAULT, 1), ROWS_MAX);
  const rows = await searchServers(sql, {
    words,
    category: input.category,
    tier: input.tier,
    sort,
    after: input.cursor === undefined ? undefined : decodeCursor(sort, input.cursor),
    // One more than asked for tells whether there is a next page.
    rowsMax: limit + 1,
  });
  const last = rows.length > limit ? rows[limit - 1] : undefined;
  return {
    servers: rows.slice(0, limit).map(toSummary),
    nextCursor: last && encodeCursor(sort, { key: last.sortKey, id: last.id }),
  };
}

/** Without words nothing is more relevant than anything else. */
function chooseSort(asked: Sort | undefined, words: readonly string[] | undefined): Sort {
  if (asked === undefined) return words ? 'relevance' : 'new';
  return asked === 'relevance' && !words ? 'new' : asked;
}

function toSummary(row: SummaryRow): ListingSummary {
  return {
    server: toServer(row),
    version: {
      id: row.versionId,
      version: row.version,
      codeSha256: row.codeSha256,
      logIndex: row.logIndex,
      createdAt: row.versionCreatedAt,
    },
    toolNames: row.toolNames,
    prices: toPriceList(row),
  };
}
