import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const SRC = join(ROOT, 'src');
const DOMAINS = [
  'ledger',
  'keys',
  'catalog',
  'payments',
  'execution',
  'provenance',
  'reliability',
  'traffic',
];

type Import = { from: string; to: string; isTypeOnly: boolean };
type Source = { path: string; text: string; imports: Import[] };

const sources: Source[] = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') || path.endsWith('.tsx'))
  .map((path) => {
    const text = readFileSync(join(SRC, path), 'utf8');
    return { path, text, imports: readImports(path, text) };
  });

function readImports(path: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s+'([^']+)';/gms);
  return [...statements].map(([, type, names = '', target = '']) => {
    const isEveryNameType = /^\{(?:\s*type\s+[^,}]+,?)+\s*\}$/s.test(names.trim());
    const to = target.startsWith('.') ? relative(SRC, resolve(SRC, dirname(path), target)) : target;
    return { from: path, to, isTypeOnly: type !== undefined || isEveryNameType };
  });
}

/** Adapters are rooms of their own: `payments/rails/evm`, `execution/backends/bubblewrap`. */
function roomOf(path: string): string {
  const [top = '', port = '', adapter = ''] = path.split('/');
  if (['wires', 'rails', 'backends', 'anchors'].includes(port) && adapter && !adapter.endsWith('.ts')) {
    return `${top}/${port}/${adapter}`;
  }
  return path.includes('/') ? top : path;
}

const isAdapter = (room: string) => room.includes('/');
const isOurs = (to: string) => to.endsWith('.ts') || to.endsWith('.tsx') || to.endsWith('.json');
const isIndex = (to: string) => /^[a-z]+\/index\.ts$/.test(to);

/** Why an arrow of DESIGN points back; undefined when it may stand. */
function refuse({ from, to, isTypeOnly }: Import): string | undefined {
  const [room, target] = [roomOf(from), roomOf(to)];
  // The wiring knows everything: `deps.ts`, and what it is made of.
  if (['deps.ts', 'deps', 'main.ts', 'serve.ts'].includes(room)) return undefined;
  if (!isOurs(to)) return refusePackage(room, from, to);
  if (room === target || target === 'core') return undefined;
  if (room === 'core') return 'core imports nothing of ours';
  if (isAdapter(room)) return refuseAdapter(room, target, to);
  if (DOMAINS.includes(room)) {
    if (target === 'db') return undefined;
    return DOMAINS.includes(target) && isTypeOnly
      ? undefined
      : 'a domain knows core, db and types of other domains';
  }
  switch (room) {
    case 'db':
      return 'db knows core only';
    case 'chain':
      return target === 'db' ? undefined : 'chain knows core and db';
    case 'gateway':
    case 'jobs':
      if (target === 'db' && to === 'db/index.ts') return undefined;
      return isIndex(to) && (DOMAINS.includes(target) || target === 'gateway')
        ? undefined
        : 'joins modules by their index only';
    case 'http':
    case 'web':
      return isIndex(to) && (DOMAINS.includes(target) || target === 'gateway')
        ? undefined
        : 'speaks to gateway and domain indexes';
    case 'sdk':
      return 'knows core and published packages';
    case 'app.ts':
      return target === 'http' ? undefined : 'mounts http and nothing else';
    case 'cli':
      return ['sdk', 'gateway', 'deps', ...DOMAINS].includes(target)
        ? undefined
        : 'uses sdk, gateway, domain indexes and what deps wires for it';
    case 'config.ts':
      return target === 'config' ? undefined : 'reads the environment, a file for each part of it';
    case 'config':
      return /^payments\/(?:rail|form)\.ts$/.test(to) && isTypeOnly
        ? undefined
        : 'knows core and types of ports';
    case 'workers':
      return ['server.ts', 'config.ts'].includes(to) ? undefined : 'steers connections and knows no domain';
    case 'server.ts':
      return to === 'traffic/index.ts' ? undefined : 'guards connections and knows no other domain';
    case 'secrets.ts':
      return to === 'config.ts' || isIndex(to) ? undefined : 'reads configuration';
    default:
      return `${room} may not import ${to}`;
  }
}

function refuseAdapter(room: string, target: string, to: string): string | undefined {
  const [domain = '', port = ''] = room.split('/');
  if (isAdapter(target)) return 'adapters are strangers to each other';
  if (target === domain)
    return /(?:store|schema|index)\.ts$/.test(to) ? 'an adapter knows its port only' : undefined;
  if (target === 'chain' && ['rails', 'anchors'].includes(port))
    return to === 'chain/index.ts' ? undefined : 'by its index';
  return 'an adapter knows core, its port and chain';
}

const SCHEMA = /(?:schema|db\/columns)\.ts$/;
const VENDORS = /^(?:viem|@x402|mppx|stripe|lightningdevkit|dockerode|@kubernetes)(?:\/|$)/;

function refusePackage(room: string, from: string, name: string): string | undefined {
  if (name.startsWith('node:')) return undefined;
  if (VENDORS.test(name))
    return isAdapter(room) || ['chain', 'sdk'].includes(room)
      ? undefined
      : 'a vendor SDK stays in its adapter';
  if (name.startsWith('drizzle')) return SCHEMA.test(from) ? undefined : 'drizzle stays in schemas';
  if (name === 'postgres') return room === 'db' ? undefined : 'the driver stays in db';
  if (/^(?:hono|@hono)/.test(name))
    return ['http', 'web', 'app.ts', 'server.ts'].includes(room) ? undefined : 'hono stays in http';
  if (room === 'core' && name !== 'zod') return 'core uses no packages';
  return undefined;
}

test('imports point one way', () => {
  const wrong = sources.flatMap((source) =>
    source.imports.flatMap((arrow) => {
      const why = refuse(arrow);
      return why ? [`${arrow.from} -> ${arrow.to}: ${why}`] : [];
    }),
  );
  expect(wrong).toEqual([]);
});

test('the rules would notice an arrow that points back', () => {
  const arrow = (from: string, to: string, isTypeOnly = false) => refuse({ from, to, isTypeOnly });
  expect(arrow('ledger/ledger.ts', 'keys/index.ts')).toBeDefined();
  expect(arrow('ledger/ledger.ts', 'keys/index.ts', true)).toBeUndefined();
  expect(arrow('core/money.ts', 'db/index.ts', true)).toBeDefined();
  expect(arrow('gateway/paid-call.ts', 'ledger/store.ts')).toBeDefined();
  expect(arrow('payments/rails/evm/settle.ts', 'payments/wires/x402/index.ts')).toBeDefined();
  expect(arrow('payments/rails/evm/settle.ts', 'db/index.ts')).toBeDefined();
  expect(arrow('http/auth.ts', 'db/index.ts')).toBeDefined();
  expect(arrow('gateway/deps.ts', 'viem')).toBeDefined();
});

test('files stay under 400 lines and functions under 70', () => {
  const long = sources.flatMap(({ path, text }) => {
    const lines = text.split('\n');
    const tooLong = lines.length > 400 ? [`${path}: ${lines.length} lines`] : [];
    return [...tooLong, ...findLongFunctions(path, lines)];
  });
  expect(long).toEqual([]);
});

/** The formatter closes a function at the indentation it began with. */
function findLongFunctions(path: string, lines: string[]): string[] {
  return lines.flatMap((line, start) => {
    const indent = /^(\s*)(?:export )?(?:default )?(?:async )?function\b/.exec(line)?.[1];
    if (indent === undefined) return [];
    const end = lines.findIndex(
      (other, index) => index > start && other.startsWith(`${indent}}`) && !other.includes('{'),
    );
    return end - start + 1 > 70 ? [`${path}:${start + 1}: ${end - start + 1} lines`] : [];
  });
}

test('the environment is read in config.ts and the process ended in main.ts only', () => {
  const reads = sources.filter(({ path, text }) => path !== 'config.ts' && /\bprocess\.env\b/.test(text));
  const exits = sources.filter(({ path, text }) => path !== 'main.ts' && /\bprocess\.exit\(/.test(text));
  expect([...reads, ...exits].map(({ path }) => path)).toEqual([]);
});

test('SQL stands in store.ts, schema.ts and db only', () => {
  const SQL = /`\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|TRUNCATE|LOCK)\b/;
  const wrong = sources.filter(
    ({ path, text }) =>
      !path.startsWith('db/') && !/(?:^|\/)(?:store|schema)\.ts$/.test(path) && SQL.test(text),
  );
  expect(wrong.map(({ path }) => path)).toEqual([]);
});

test('types are not silenced', () => {
  const SILENCED = /@ts-ignore|@ts-expect-error|@ts-nocheck|biome-ignore|\bas any\b/;
  expect(sources.filter(({ text }) => SILENCED.test(text)).map(({ path }) => path)).toEqual([]);
});

test('every variable of the environment is in .env.example, and no other', async () => {
  const { environmentSchema } = await import('../src/config.ts');
  const example = readFileSync(join(ROOT, '.env.example'), 'utf8');
  const named = [...example.matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name).sort();
  expect(named).toEqual(Object.keys(environmentSchema.shape).sort());
});
