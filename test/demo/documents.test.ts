import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';

const ROOT = resolve(import.meta.dirname, '../..');
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');
const listed = z.record(z.string(), z.string()).default({});
const manifestSchema = z.object({
  scripts: listed,
  dependencies: listed,
  devDependencies: listed,
  optionalDependencies: listed,
});
const manifest = manifestSchema.parse(JSON.parse(read('package.json')));

test('every dependency has a row in the README, and every row a dependency', () => {
  const table = read('README.md').split('## Dependencies')[1]?.split('\n## ')[0] ?? '';
  const rows = [...table.matchAll(/^\| ([^|]+) \|/gm)].flatMap(([, names = '']) =>
    names
      .replaceAll(/\([^)]*\)/g, '')
      .split(',')
      .map((name) => name.trim()),
  );
  const named = rows.filter((name) => name !== 'package' && !/^-+$/.test(name));
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  const wanted = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
  const covers = (row: string, name: string) =>
    row.endsWith('*') ? name.startsWith(row.slice(0, -1)) : row === name;
  expect(wanted.filter((name) => !named.some((row) => covers(row, name)))).toEqual([]);
  expect(named.filter((row) => !wanted.some((name) => covers(row, name)))).toEqual([]);
});

test('every npm script and file that the documents name is there', () => {
  for (const name of ['README.md', 'OPERATIONS.md', 'ARCHITECTURE.md', 'SECURITY.md']) {
    const text = read(name);
    for (const [, script = ''] of text.matchAll(
      /npm (?:run )?(demo|dev|start|test|verify|bench|[a-z]+:[a-z]+)/g,
    )) {
      expect(Object.keys(manifest.scripts)).toContain(script);
    }
    for (const [, path = ''] of text.matchAll(/`((?:src|scripts|test)\/[A-Za-z0-9/._-]+\.(?:ts|md|mjs))`/g)) {
      expect(() => read(path), `${name} names ${path}`).not.toThrow();
    }
  }
});

test('OPERATIONS names every variable of .env.example, and no other', () => {
  const variables = (text: string) =>
    new Set(
      text.match(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\b(?:PORT|HOST|SECRET|SANDBOX|ANCHORS|WITNESSES)\b/g),
    );
  const known = new Set(
    [...read('.env.example').matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map(([, name = '']) => name),
  );
  const named = variables(read('OPERATIONS.md'));
  expect([...known].filter((name) => !named.has(name))).toEqual([]);
  expect([...named].filter((name) => !known.has(name) && !NOT_VARIABLES.has(name))).toEqual([]);
});

/** What looks like a variable: words of the kernel's, and the key that a script is given. */
const NOT_VARIABLES = new Set(['SYS_ADMIN', 'RLIMIT_AS', 'DEPLOYER_KEY']);
