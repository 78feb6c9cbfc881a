import { Problem } from '../../core/problem.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import { appendEntries } from './append.ts';
import { decodeLeaf, dedupKeyOf, encodeLeaf, isLeafField, type Leaf, type PublishLeaf } from './leaf.ts';
import { findEntry, findPublications, type LogEntryRow, readLogEntries } from './store.ts';
import { LOG_IDS } from './transparency-log.ts';

const ENTRIES_MAX = 1_000;

/**
 * Appends to the version log and answers the leaf index, last in the caller's transaction. What is in the log
 * already is a conflict: a version is published once, whatever its code.
 */
export async function appendLeaf(tx: Tx, leaf: Leaf): Promise<bigint> {
  const entry = { entry: encodeLeaf(leaf), dedupKey: dedupKeyOf(leaf) };
  try {
    const [leafIndex] = await appendEntries(tx, LOG_IDS.versions, [entry]);
    return BigInt(leafIndex ?? 0);
  } catch (error) {
    if (error instanceof Problem && error.type === 'conflict') throw conflictOf(leaf);
    throw error;
  }
}

/** Entries of the version log in order, at most a thousand at a time: all that it takes to replay it. */
export function readLog(
  sql: Queryable,
  input: { fromIndex: bigint; entriesMax: number },
): Promise<LogEntryRow[]> {
  return readLogEntries(sql, LOG_IDS.versions, {
    fromIndex: input.fromIndex,
    rowsMax: Math.min(input.entriesMax, ENTRIES_MAX),
  });
}

export type Publication = PublishLeaf & { index: bigint };

/** The publication of one version; undefined when there is none, also of what the log could not spell. */
export async function findPublication(
  sql: Queryable,
  version: Pick<PublishLeaf, 'tool' | 'version'>,
): Promise<Publication | undefined> {
  if (!isLeafField('tool', version.tool) || !isLeafField('version', version.version)) return undefined;
  const row = await findEntry(sql, dedupKeyOf({ kind: 'publish', ...version }));
  if (!row) return undefined;
  const leaf = decodeLeaf(row.entry);
  return leaf?.kind === 'publish' ? { ...leaf, index: row.leafIndex } : undefined;
}

/** What was published under names that start with `toolPrefix`, with the index of each. */
export async function listPublications(sql: Queryable, toolPrefix: string): Promise<Publication[]> {
  const rows = await findPublications(sql, toolPrefix);
  return rows.flatMap(({ entry, leafIndex }) => {
    const leaf = decodeLeaf(entry);
    return leaf?.kind === 'publish' ? [{ ...leaf, index: leafIndex }] : [];
  });
}

function conflictOf(leaf: Leaf): Problem {
  return new Problem('conflict', { detail: describeConflict(leaf) });
}

function describeConflict(leaf: Leaf): string {
  switch (leaf.kind) {
    case 'publish':
      return `${leaf.tool} ${leaf.version} is published already, and a version never changes. Publish a new one.`;
    case 'yank':
      return `${leaf.tool} ${leaf.version} is yanked already.`;
    case 'transfer':
      return `${leaf.tool} was given to this publisher in the same second already.`;
    case 'key-add':
      return `This publisher has key ${leaf.key} already, or had it: a key is added once.`;
    case 'key-revoke':
      return `Key ${leaf.key} of this publisher is revoked already.`;
    case 'anchor-contract':
      return `Contract ${leaf.contract} on chain ${leaf.chain} is in the log already.`;
    default:
      return leaf satisfies never;
  }
}
