import { expect, test } from 'vitest';
import { isToolEntry, mayCall } from '../../src/keys/index.ts';
import { findBroader } from '../../src/keys/tool-list.ts';

const call = (server: string, tool: string) => ({ server, tool });

test('a server in the list allows all its tools and no other server’s', () => {
  const key = { tools: ['acme/text'] };
  expect(mayCall(key, call('acme/text', 'count'))).toBe(true);
  expect(mayCall(key, call('acme/text', 'deep/name'))).toBe(true);
  expect(mayCall(key, call('acme/text-stats', 'count'))).toBe(false);
  expect(mayCall(key, call('acme/tex', 't'))).toBe(false);
});

test('a tool in the list allows that tool and none below its name', () => {
  const key = { tools: ['acme/text/deep'] };
  expect(mayCall(key, call('acme/text', 'deep'))).toBe(true);
  expect(mayCall(key, call('acme/text', 'deep/name'))).toBe(false);
  expect(mayCall(key, call('acme/text', 'deeper'))).toBe(false);
});

test('a key without a list may call everything, and one with an empty list nothing', () => {
  expect(mayCall({ tools: undefined }, call('acme/text', 'count'))).toBe(true);
  expect(mayCall({ tools: [] }, call('acme/text', 'count'))).toBe(false);
});

test('a child’s list is never broader than its parent’s', () => {
  const parent = ['acme/text', 'acme/csv/head'];
  expect(findBroader(parent, ['acme/text/count', 'acme/text', 'acme/csv/head'])).toBeUndefined();
  expect(findBroader(parent, ['acme/text', 'acme/csv'])).toBe('acme/csv');
  expect(findBroader(parent, ['acme/csv/tail'])).toBe('acme/csv/tail');
});

test.each(['acme', '', '/', 'acme/', '/text', 'acme/te xt', 'acme/text/', 'ácme/text'])(
  '%j names no server or tool',
  (text) => {
    expect(isToolEntry(text)).toBe(false);
  },
);
