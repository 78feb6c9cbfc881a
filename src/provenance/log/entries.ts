import { Problem } from '../../core/problem.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import { leafHashOf } from '../merkle/merkle.ts';
import { decodeLeaf, dedupKeyOf, encodeLeaf, type PublishLeaf } from './leaf.ts';
import {
  findPublications,
  insertLogEntry,
  type LogEntryRow,
  lockTreeSize,
  readLogEntries,
  setTreeSize,
} from './store.ts';

const ENTRIES_MAX = 1_000;

/**
 * Appends a publication and answers its leaf index. The log's row stays locked until the transaction ends,
 * so indexes follow the order of commits and have no gap: append last. A version that is in the log already
 * is a conflict, whatever its code.
 */
export async function appendLeaf(tx: Tx, leaf: PublishLeaf): Promise<bigint> {
  const entry = encodeLeaf(leaf);
  const leafIndex = await lockTreeSize(tx);
  const isNew = await insertLogEntry(tx, {
    leafIndex,
    entry,
    leafHash: leafHashOf(entry),
    dedupKey: dedupKeyOf(leaf),
  });
  // The size moves only with an entry: a caller that catches the conflict and commits leaves no gap either.
  if (!isNew) {
    throw new Problem('conflict', {
      detail: `${leaf.tool} ${leaf.version} is published already, and a version never changes. Publish a new one.`,
    });
  }
  await setTreeSize(tx, leafIndex + 1n);
  return leafIndex;
}

/** Entries in order, at most a thousand at a time: all that it takes to replay the log. */
export function readLog(
  sql: Queryable,
  input: { fromIndex: bigint; entriesMax: number },
): Promise<LogEntryRow[]> {
  return readLogEntries(sql, {
    fromIndex: input.fromIndex,
    rowsMax: Math.min(input.entriesMax, ENTRIES_MAX),
  });
}

/** What was published under names that start with `toolPrefix`, with the index of each. */
export async function listPublications(
  sql: Queryable,
  toolPrefix: string,
): Promise<(PublishLeaf & { index: bigint })[]> {
  const rows = await findPublications(sql, toolPrefix);
  return rows.flatMap(({ entry, leafIndex }) => {
    const leaf = decodeLeaf(entry);
    return leaf ? [{ ...leaf, index: leafIndex }] : [];
  });
}
