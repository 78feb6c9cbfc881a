import { must } from './must.ts';
import { priceOf, readDocument } from './sample-servers.ts';
import type { Call, Listed } from './stage.ts';

/** How many pieces each document is cut into for the metered calls: 300 calls in all. */
const PARAGRAPHS = 150;
const CHAPTERS = 40;
const ORDERS_PER_TABLE = 8;
const REVISIONS = 60;
const PARAGRAPH_CHARACTERS_MIN = 40;

/** Makes calls of the listed servers, each priced by the publisher's own list. */
export function createCalls(listed: Listed[]) {
  const make = (folder: string, tool: string, args: Record<string, unknown>): Call => {
    const server = listed.find((candidate) => candidate.folder === folder);
    must(server, `${folder} is listed`);
    return callOf(server, tool, args);
  };
  const [older, newer] = [readDocument('lgpl-2.0.txt'), readDocument('lgpl-2.1.txt')];
  return {
    compareLicences: () =>
      make('document-diff', 'compare_documents', { before: older, after: newer, unit: 'word' }),
    profileBrokenTable: () => make('csv-profile', 'profile_csv', { csv: readDocument('orders-broken.csv') }),
    /** Of the server that is listed for cards, which runs the same code. */
    reportOnTable: (reports: Listed) => callOf(reports, 'profile_csv', { csv: readDocument('orders.csv') }),
    reportOnBrokenTable: (reports: Listed) =>
      callOf(reports, 'profile_csv', { csv: readDocument('orders-broken.csv') }),
    findKeyPhrases: () =>
      make('text-analysis', 'extract_key_phrases', { text: readDocument('human-rights.txt') }),
    checkJson: (text: string) => make('json-tools', 'check_json', { text }),
    wrongArguments: () => make('csv-profile', 'profile_csv', { csv: 7, delimeter: 'comma' }),
    analyzeText: (text: string) => make('text-analysis', 'analyze_text', { text }),
    /** 300 calls on pieces of the documents, in an order that mixes the tools. */
    metered(): Call[] {
      return interleave([
        splitParagraphs(`${readDocument('human-rights.txt')}\n\n${newer}`, PARAGRAPHS).map((text) =>
          make('text-analysis', 'analyze_text', { text }),
        ),
        splitLines(newer, CHAPTERS).map((text) => make('text-analysis', 'extract_key_phrases', { text })),
        splitTable(readDocument('orders.csv')).map((csv) => make('csv-profile', 'profile_csv', { csv })),
        zip(splitLines(older, REVISIONS), splitLines(newer, REVISIONS)).map(([before, after]) =>
          make('document-diff', 'compare_documents', { before, after, unit: 'line' }),
        ),
      ]);
    },
  };
}
export type Calls = ReturnType<typeof createCalls>;

function callOf({ manifest }: Listed, tool: string, args: Record<string, unknown>): Call {
  return { server: manifest.name, tool, arguments: args, priceMcents: priceOf(manifest, tool) };
}

function splitParagraphs(text: string, count: number): string[] {
  const paragraphs = text
    .split(/\n\s*\n/)
    .filter((paragraph) => paragraph.length >= PARAGRAPH_CHARACTERS_MIN);
  return Array.from({ length: count }, (_, index) => paragraphs[index % paragraphs.length] ?? '');
}

/** `count` pieces of about as many lines each. */
function splitLines(text: string, count: number): string[] {
  const lines = text.split('\n');
  const cut = (index: number) => Math.round((index * lines.length) / count);
  return Array.from({ length: count }, (_, index) => lines.slice(cut(index), cut(index + 1)).join('\n'));
}

/** Tables of a few rows each, with the header of the whole one. */
function splitTable(csv: string): string[] {
  const [header = '', ...rows] = csv.trimEnd().split('\n');
  return Array.from({ length: Math.ceil(rows.length / ORDERS_PER_TABLE) }, (_, index) => {
    const part = rows.slice(index * ORDERS_PER_TABLE, (index + 1) * ORDERS_PER_TABLE);
    return [header, ...part].join('\n');
  });
}

function zip(left: string[], right: string[]): [string, string][] {
  return left.map((item, index) => [item, right[index] ?? '']);
}

/** Spreads each list evenly over the whole. */
function interleave<T>(lists: T[][]): T[] {
  return lists
    .flatMap((list) => list.map((item, index) => ({ item, at: (index + 0.5) / list.length })))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
