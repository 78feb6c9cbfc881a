import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeOrders } from '../../scripts/demo/documents/make-orders.ts';
import { readDocument } from '../../scripts/demo/sample-servers.ts';
import { applyPatch } from './apply-patch.ts';
import { call, connect, type SampleFolder, unpackSampleServers } from './sample-client.ts';

let samples: SampleFolder;
const clients = new Map<string, Client>();
beforeAll(async () => {
  samples = unpackSampleServers();
  for (const folder of ['text-analysis', 'csv-profile', 'document-diff', 'json-tools']) {
    clients.set(folder, await connect(samples.root, folder));
  }
});
afterAll(async () => {
  await Promise.all([...clients.values()].map((client) => client.close()));
  samples.remove();
});

function ask(folder: string, tool: string, args: Record<string, unknown>) {
  const client = clients.get(folder);
  if (!client) throw new Error(`${folder} is not running`);
  return call(client, tool, args);
}

describe('text-analysis', () => {
  const analyze = (text: string) => ask('text-analysis', 'analyze_text', { text });

  test('counts and scores agree with a text counted by hand', async () => {
    // A heading | He wanted the table. | Did Mr. Fox, named Bo, remember?
    const { data } = await analyze('A heading\n\nHe wanted the table. Did Mr. Fox, named Bo, remember?');
    expect(data).toMatchObject({ words: 12, sentences: 3, paragraphs: 2, longest_sentence_words: 6 });
    expect(data).toMatchObject({ words_per_sentence: 4, distinct_words: 12 });
    // heading 2 + wanted 2 + table 2 + remember 3 + eight words of one.
    expect(data.syllables_per_word).toBeCloseTo(17 / 12, 2);
    const { flesch_kincaid_grade } = data.readability as Record<string, number>;
    expect(flesch_kincaid_grade).toBeCloseTo(0.39 * 4 + (11.8 * 17) / 12 - 15.59, 2);
  });

  test('a declaration of law reads as difficult', async () => {
    const text = readDocument('human-rights.txt');
    const { data } = await analyze(text);
    expect(data.characters).toBe([...text].length);
    // Headings are paragraphs of their own.
    expect(data.paragraphs).toBe(text.split('\n\n').length);
    const { flesch_reading_ease } = data.readability as Record<string, number>;
    expect(flesch_reading_ease).toBeGreaterThan(30);
    expect(flesch_reading_ease).toBeLessThan(50);
  });

  test('the key phrases of a document are what it keeps coming back to', async () => {
    const { data } = await ask('text-analysis', 'extract_key_phrases', {
      text: readDocument('human-rights.txt'),
      limit: 5,
    });
    const phrases = data.phrases as { phrase: string; count: number; score: number }[];
    expect(phrases.slice(0, 2).map(({ phrase }) => phrase)).toEqual(['human rights', 'united nations']);
    expect(phrases).toHaveLength(5);
  });

  test('a phrase scores its words by length of company, times how often it occurs', async () => {
    const { data } = await ask('text-analysis', 'extract_key_phrases', {
      text: 'The red fox saw a red fox. A fox ran.',
    });
    // Phrases: red fox saw (3), red fox (2), fox ran (2).
    // red: degree 5, frequency 2. fox: 7, 3. saw: 3, 1. ran: 2, 1.
    expect(data.phrases).toEqual([
      { phrase: 'red fox saw', score: 7.83, count: 1 },
      { phrase: 'red fox', score: 4.83, count: 1 },
      { phrase: 'fox ran', score: 4.33, count: 1 },
    ]);
  });

  test.each([
    ['digits and marks only', '123 ... 456 !!!'],
    ['white space only', ' \n\n\t '],
    ['a script without words of letters', '🙂🙂🙂'],
  ])('%s is a tool error, not an answer', async (_, text) => {
    expect(await analyze(text)).toMatchObject({ isError: true, text: 'The text has no words.' });
  });

  test.each([
    ['half a megabyte of dots', `a${'.'.repeat(499_999)}`],
    ['half a megabyte of initials', 'a.'.repeat(250_000)],
    ['half a megabyte of line ends', `a${'\n '.repeat(249_999)}`],
    ['half a megabyte of quotes', `a${'."'.repeat(249_999)}`],
  ])('%s takes well under the five seconds of a call', async (_, text) => {
    const started = Date.now();
    expect((await analyze(text)).isError).toBe(false);
    expect(Date.now() - started).toBeLessThan(3_000);
  });

  test('a lone surrogate in the input does not break the answer', async () => {
    const { data } = await analyze('Broken \ud800 text stays readable.');
    expect(data).toMatchObject({ words: 4, sentences: 1 });
  });
});

describe('csv-profile', () => {
  const profile = (csv: string) => ask('csv-profile', 'profile_csv', { csv });
  type Column = { name: string; type: string; missing: number; distinct: number; numbers?: Numbers };
  type Numbers = Record<string, number> & { outlier_examples: { line: number; value: number }[] };
  const columnOf = (data: Record<string, unknown>, name: string) =>
    (data.columns as Column[]).find((column) => column.name === name);

  test('the shipped tables are what their script writes', () => {
    const { whole, broken } = makeOrders();
    expect(readDocument('orders.csv')).toBe(whole);
    expect(readDocument('orders-broken.csv')).toBe(broken);
  });

  test('every column of a real table gets its type, and its slips come to light', async () => {
    const { data } = await profile(readDocument('orders.csv'));
    expect(data).toMatchObject({ rows: 400, duplicate_rows: 0, delimiter: 'comma' });
    const types = (data.columns as Column[]).map(({ name, type }) => [name, type]);
    expect(Object.fromEntries(types)).toEqual({
      order_id: 'text',
      ordered_on: 'date',
      customer: 'text',
      country: 'text',
      postal_code: 'text',
      product: 'text',
      quantity: 'integer',
      unit_price_usd: 'number',
      discount_pct: 'number',
      shipped: 'boolean',
    });
    // Row 136 counted from 0 stands in line 138: the header is line 1.
    expect(columnOf(data, 'quantity')?.numbers?.outlier_examples[0]).toEqual({ line: 138, value: 1200 });
    expect(columnOf(data, 'unit_price_usd')?.numbers?.outlier_examples[0]).toEqual({
      line: 303,
      value: 4200,
    });
    expect(columnOf(data, 'ordered_on')).toMatchObject({
      times: { earliest: '2026-01-05', latest: '2026-04-14' },
    });
  });

  test('quartiles, mean and outliers agree with a column done by hand', async () => {
    const { data } = await profile('n;note\n1;a\n2;\n3;N/A\n4;a\n100;null\n');
    expect(data.delimiter).toBe('semicolon');
    // 1 2 3 4 100: quartiles 2, 3, 4; fences -1 and 7; deviations from 22 squared sum to 7610.
    expect(columnOf(data, 'n')).toMatchObject({
      type: 'integer',
      numbers: { min: 1, max: 100, mean: 22, q1: 2, median: 3, q3: 4, outliers: 1 },
    });
    expect(columnOf(data, 'n')?.numbers?.std_dev).toBeCloseTo(Math.sqrt(7610 / 4), 6);
    expect(columnOf(data, 'note')).toMatchObject({ type: 'text', missing: 3, distinct: 1 });
  });

  test('codes with a leading zero stay text, and mixed columns fall back to it', async () => {
    const { data } = await profile(
      'zip,mixed,big,when\n02139,1,12345678901234567890,2026-02-30\n10115,x,1,x\n',
    );
    const types = (data.columns as Column[]).map(({ type }) => type);
    expect(types).toEqual(['text', 'text', 'text', 'text']);
  });

  test.each([
    ['a row with too many values', readDocument('orders-broken.csv'), /^Line 212 has 11 values.*comma/],
    ['a row with too few values', 'a,b\n1,2\n3\n', /^Line 3 has 1 values/],
    ['an empty text', '', /empty/],
    ['a header alone', 'a,b\n', /empty/],
    ['a column named twice', 'a,a\n1,2\n', /twice/],
    ['a column without a name', 'a,\n1,2\n', /no name/],
    ['an open quote', 'a\n"x\n', /not CSV/],
    ['bytes that were not text', 'a\nM\ufffdnchen\n', /UTF-8/],
    ['too many columns', `${Array.from({ length: 201 }, (_, n) => `c${n}`).join()}\n`, /201 columns/],
  ])('%s is a tool error that says where', async (_, csv, expected) => {
    const { isError, text } = await profile(csv);
    expect(isError).toBe(true);
    expect(text).toMatch(expected);
  });

  test('a table of 200,000 rows takes well under the five seconds of a call', async () => {
    const started = Date.now();
    const { data } = await profile(`a\n${'1.5\n'.repeat(200_000)}`);
    expect(data.rows).toBe(200_000);
    expect(Date.now() - started).toBeLessThan(3_000);
  });
});

describe('document-diff', () => {
  const compare = (before: string, after: string, unit?: string) =>
    ask('document-diff', 'compare_documents', { before, after, ...(unit ? { unit } : {}) });
  const licences = [readDocument('lgpl-2.0.txt'), readDocument('lgpl-2.1.txt')] as const;

  test('a changed word is found with its place and its neighbours left alone', async () => {
    const { data } = await compare('the quick brown fox jumps', 'the slow brown fox jumps high');
    expect(data).toMatchObject({ similarity: 0.7272, unchanged: 4, deleted: 1, inserted: 2 });
    expect(data.changes).toMatchObject([
      { kind: 'replace', before_position: 2, after_position: 2, removed: 'quick', added: 'slow' },
      { kind: 'insert', before_position: 6, after_position: 6, removed: '', added: 'high' },
    ]);
  });

  test('two versions of a licence differ first in their title', async () => {
    const { data } = await compare(...licences);
    expect(data).toMatchObject({ before_units: 4183, after_units: 4372, identical: false });
    expect(data.similarity).toBeGreaterThan(0.85);
    expect((data.changes as object[])[0]).toMatchObject({ removed: 'LIBRARY', added: 'LESSER' });
  });

  test('a document equals itself, and the empty one too', async () => {
    for (const text of [licences[0], '', 'üñï 🙂 \u2028']) {
      const { data } = await compare(text, text);
      expect(data).toMatchObject({ identical: true, similarity: 1, change_count: 0, changes: [] });
    }
  });

  test.each([
    ['a licence', ...licences],
    ['from nothing', '', 'a\nb\n'],
    ['to nothing', 'a\nb\n', ''],
    ['a last line without an end', 'a\nb', 'a\nc'],
    ['a line end added', 'a\nb', 'a\nb\n'],
    ['at both ends', '1\n2\n3\n4\n5\n6\n7\n8\n9\n', '0\n1\n2\n3\n4\n5\n6\n7\n8\n'],
    ['carriage returns and line separators', 'a\r\nb\u2028c\n', 'a\r\nb\u2028d\n'],
  ])('a patch turns one version into the other: %s', async (_, before, after) => {
    for (const context_lines of [0, 1, 3]) {
      const { data } = await ask('document-diff', 'write_patch', { before, after, context_lines });
      expect(applyPatch(before, String(data.patch))).toBe(after);
    }
  });

  test('documents too tangled to compare are refused with a reason before the call times out', async () => {
    const words = Array.from({ length: 50_000 }, (_, index) => `w${index}`);
    // Every word moves: 7,919 shares no divisor with 50,000, so this is a shuffle.
    const shuffled = words.map((_, index) => `w${(index * 7_919) % 50_000}`);
    const started = Date.now();
    const { isError, text } = await compare(words.join(' '), shuffled.join(' '));
    expect(isError).toBe(true);
    expect(text).toMatch(/section by section/);
    expect(Date.now() - started).toBeLessThan(4_500);
  });

  test('documents with nothing in common are compared at once, however long', async () => {
    const { data } = await compare('a '.repeat(150_000), 'b '.repeat(150_000));
    expect(data).toMatchObject({ similarity: 0, deleted: 150_000, inserted: 150_000, change_count: 1 });
  });

  test('a patch path that climbs or breaks lines is refused', async () => {
    for (const path of ['a\nb', 'a b', '']) {
      const answer = await ask('document-diff', 'write_patch', { before: 'a', after: 'b', path });
      expect(answer.isError).toBe(true);
    }
  });
});

describe('json-tools', () => {
  const check = (text: string) => ask('json-tools', 'check_json', { text });

  test('a valid document is counted', async () => {
    const { data } = await check('{"a": [1, "x", null, true], "b": {}}');
    expect(data).toEqual({
      valid: true,
      kind: 'object',
      depth: 2,
      values: { object: 2, array: 1, string: 1, number: 1, boolean: 1, null: 1 },
    });
  });

  test('the first mistake is placed by line and column', async () => {
    const { data } = await check('{\n  "a": 1,\n  "b": oops\n}');
    expect(data).toMatchObject({ valid: false, line: 3, column: 8 });
  });

  test.each([
    ['a repeated key', '{"a":1,"a":2}', /twice/],
    ['NaN', '[NaN]', /NaN/],
    ['deep nesting', '['.repeat(300) + ']'.repeat(300), /nests deeper/],
    ['very deep nesting', '['.repeat(100_000), /nests deeper/],
    ['an empty text', '', /Expecting value/],
    ['a number of a million digits', '1'.repeat(10_000), /digits/],
  ])('%s is not valid', async (_, text, expected) => {
    const { data } = await check(text);
    expect(data.valid).toBe(false);
    expect(data.error).toMatch(expected);
  });

  test('every leaf is listed under its JSON Pointer', async () => {
    const { data } = await ask('json-tools', 'flatten_json', { text: '{"a/b":{"~":[1,{}]},"":"é"}' });
    expect(data.entries).toEqual([
      { pointer: '/a~1b/~0/0', value: '1' },
      { pointer: '/a~1b/~0/1', value: '{}' },
      { pointer: '/', value: '"é"' },
    ]);
  });

  test('a document is written anew with sorted keys', async () => {
    const { data } = await ask('json-tools', 'format_json', { text: '{ "b":1, "a":[ ] }', indent: 0 });
    expect(data).toEqual({ text: '{"a":[],"b":1}', changed: true });
  });

  test('a result too large to send is a tool error', async () => {
    const text = JSON.stringify(Array.from({ length: 4_000 }, () => 'x'.repeat(100)));
    expect(await ask('json-tools', 'flatten_json', { text })).toMatchObject({ isError: true });
  });
});
