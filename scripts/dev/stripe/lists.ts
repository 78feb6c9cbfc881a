import { invalidRequest } from './api-error.ts';

type Listed = { id: string; created: number };

export type ListInput = {
  limit: number;
  starting_after: string | undefined;
  created: { gte?: number | undefined; lte?: number | undefined } | undefined;
};

/** A page of objects, newest first (Pagination). */
export function listPage<T extends Listed>(url: string, all: Iterable<T>, input: ListInput): object {
  const { gte = 0, lte = Number.POSITIVE_INFINITY } = input.created ?? {};
  const rows = [...all].reverse().filter(({ created }) => created >= gte && created <= lte);
  const start = input.starting_after === undefined ? 0 : indexAfter(rows, input.starting_after);
  const data = rows.slice(start, start + input.limit);
  return { object: 'list', data, has_more: start + input.limit < rows.length, url };
}

function indexAfter(rows: Listed[], id: string): number {
  const index = rows.findIndex((row) => row.id === id);
  if (index >= 0) return index + 1;
  throw invalidRequest(`No such object: '${id}'`, { code: 'resource_missing', param: 'starting_after' });
}

const CLAUSE = /^(?:metadata\[(["'])(.+?)\1\]|(status))\s*:\s*(["'])(.*?)\4$/;

/** The part of Stripe's search language that asks for exact metadata and status, joined by AND. */
export function parseQuery(
  query: string,
): (row: { metadata: Record<string, string>; status: string }) => boolean {
  const clauses = query.split(/\s+AND\s+/i).map((clause) => {
    const [, , key, status, , value] = CLAUSE.exec(clause.trim()) ?? [];
    if (key === undefined && status === undefined) {
      throw invalidRequest(`We were unable to parse your search query: ${query}`, { param: 'query' });
    }
    return { key, value };
  });
  return (row) =>
    clauses.every(({ key, value }) => (key === undefined ? row.status : row.metadata[key]) === value);
}
