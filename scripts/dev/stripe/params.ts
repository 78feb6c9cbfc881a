import { z } from 'zod';
import { invalidRequest } from './api-error.ts';

export type Tree = { [name: string]: string | Tree | (string | Tree)[] };

/** Decodes `a[b]=1&list[]=x&list[0][c]=y`, the form encoding of Stripe's API. */
export function parseForm(text: string): Tree {
  const root: Branch = new Map();
  for (const [name, value] of new URLSearchParams(text)) {
    const path = name.split('[').map((part) => part.replace(/\]$/, ''));
    let branch = root;
    for (const part of path.slice(0, -1)) {
      const next = branch.get(part);
      const child: Branch = next instanceof Map ? next : new Map();
      branch.set(part, child);
      branch = child;
    }
    const last = path.at(-1) ?? '';
    branch.set(last === '' ? String(branch.size) : last, value);
  }
  return toTree(root);
}

type Branch = Map<string, string | Branch>;

function toTree(branch: Branch): Tree {
  return Object.fromEntries([...branch].map(([name, value]) => [name, toValue(value)]));
}

function toValue(value: string | Branch): string | Tree | (string | Tree)[] {
  if (typeof value === 'string') return value;
  const isList = value.size > 0 && [...value.keys()].every((key) => /^[0-9]+$/.test(key));
  if (!isList) return toTree(value);
  return [...value.values()].map((item) => (typeof item === 'string' ? item : toTree(item)));
}

export const integer = z.stringFormat('integer', /^-?[0-9]{1,15}$/).transform(Number);
export const flag = z.enum(['true', 'false']).transform((text) => text === 'true');
export const metadata = z.record(z.string().max(40), z.string().max(500));
export const expand = z.array(z.string()).max(20);

/** Parameters as an endpoint knows them; an unknown, missing or odd one is answered as Stripe does. */
export function readParams<T>(schema: z.ZodType<T>, tree: Tree): T {
  const parsed = schema.safeParse(tree);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.map(String) ?? [];
  // Nothing is kept for the idempotency key of a request that never began.
  const isKept = false;
  if (issue?.code === 'unrecognized_keys') {
    const param = toParam([...path, issue.keys[0] ?? '']);
    throw invalidRequest(`Received unknown parameter: ${param}`, {
      code: 'parameter_unknown',
      param,
      isKept,
    });
  }
  const param = toParam(path);
  if (valueAt(tree, path) === undefined) {
    throw invalidRequest(`Missing required param: ${param}.`, { code: 'parameter_missing', param, isKept });
  }
  if (issue?.code === 'invalid_format' && issue.format === 'integer') {
    throw invalidRequest(`Invalid integer: ${String(valueAt(tree, path))}`, {
      ...{ code: 'parameter_invalid_integer', param, isKept },
    });
  }
  throw invalidRequest(`Invalid ${param}: ${issue?.message ?? 'unreadable'}`, { param, isKept });
}

function toParam([first = '', ...rest]: string[]): string {
  return `${first}${rest.map((part) => `[${part}]`).join('')}`;
}

function valueAt(tree: Tree, path: string[]): unknown {
  let value: unknown = tree;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = Object.entries(value).find(([name]) => name === part)?.[1];
  }
  return value;
}
