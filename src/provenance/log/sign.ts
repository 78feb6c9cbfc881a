import type { Clock } from '../../core/clock.ts';
import type { Queryable, Sql } from '../../db/index.ts';
import { withTransaction } from '../../db/index.ts';
import { type Hash, rangeHash } from '../merkle/merkle.ts';
import { encodeCheckpoint } from './checkpoint.ts';
import { LogDivergedError } from './divergence.ts';
import { readFrontier } from './frontier.ts';
import { saysSo } from './kept-checkpoint.ts';
import { signNote } from './note.ts';
import {
  findLogCheckpoint,
  findLogState,
  insertLogCheckpoint,
  type LogCheckpointRow,
  lockLogState,
} from './store.ts';
import { rootOf } from './tiles/grow.ts';
import { MissingTileError, withTiles } from './tiles/nodes.ts';
import { findTiles } from './tiles/store.ts';
import type { TreeHead } from './transparency-log.ts';
import type { NoteSigner } from './vkey.ts';

export type SignDeps = {
  sql: Sql;
  clock: Clock;
  /** `LOG_IDS`. */
  log: number;
  origin: string;
  signers: readonly NoteSigner[];
  /** What is known to have been signed before this call, whatever the database says. */
  known?: TreeHead | undefined;
};

/**
 * Signs the head of a log when it grew, and answers the newest checkpoint. Before that the tiles must give the last
 * signed root and the head's: throws `LogDivergedError` when they do not, and signs nothing.
 */
export async function signHead(deps: SignDeps): Promise<LogCheckpointRow | undefined> {
  const { sql, log, known } = deps;
  const [state, last] = await Promise.all([findLogState(sql, log), findLogCheckpoint(sql, log)]);
  // Nothing new: what stands is held against what was signed, and nobody who appends is kept waiting.
  if (last) requireKept(last, deps.signers);
  if (last && state?.root && state.treeSize === last.treeSize) {
    await requireRoot(sql, log, last);
    requireSame(state.root, last.root, last.treeSize);
    await requireKnown(sql, log, { last, known });
    return last;
  }
  return state || last || known ? signLocked(deps) : undefined;
}

function signLocked({
  sql,
  clock,
  log,
  origin,
  signers,
  known,
}: SignDeps): Promise<LogCheckpointRow | undefined> {
  return withTransaction(sql, async (tx) => {
    const state = await lockLogState(tx, log);
    const last = await findLogCheckpoint(tx, log);
    if (last && last.treeSize > state.treeSize) {
      throw new LogDivergedError(`${last.treeSize} leaves were signed, and the log has ${state.treeSize}`);
    }
    await requireKnown(tx, log, { last, known });
    if (state.treeSize === 0n) return undefined;
    // It gives the root that the log's row has, or it throws.
    const frontier = await readFrontier(tx, log, state);
    const { treeSize } = frontier;
    const root = rootOf(frontier);
    if (last) await requireRoot(tx, log, last);
    if (last && last.treeSize === state.treeSize) {
      requireSame(root, last.root, last.treeSize);
      return last;
    }
    const note = signNote(encodeCheckpoint({ origin, treeSize, root }), signers);
    const signed = { treeSize: state.treeSize, root, note, signedAt: clock.now() };
    await insertLogCheckpoint(tx, log, signed);
    return signed;
  });
}

/** Throws when the newest note is not the one that was signed. */
function requireKept(last: LogCheckpointRow, keys: readonly NoteSigner[]): void {
  const [treeSize, { root }] = [Number(last.treeSize), last];
  if (saysSo(last.note, { treeSize, root, keys })) return;
  throw new LogDivergedError(`the checkpoint of ${treeSize} leaves is not the one that was signed`);
}

/** Throws when the database no longer has what this process saw signed: another one took its place meanwhile. */
async function requireKnown(
  sql: Queryable,
  log: number,
  { last, known }: { last: LogCheckpointRow | undefined; known: TreeHead | undefined },
): Promise<void> {
  if (!known) return;
  const treeSize = BigInt(known.treeSize);
  if (!last || last.treeSize < treeSize) {
    throw new LogDivergedError(
      `${treeSize} leaves were signed, and the newest checkpoint has ${last?.treeSize ?? 0}: was the database restored?`,
    );
  }
  if (last.treeSize === treeSize) requireSame(last.root, known.root, treeSize);
  else await requireRoot(sql, log, { treeSize, root: known.root });
}

/** Throws when the tiles no longer give the root that was signed. */
async function requireRoot(
  sql: Queryable,
  log: number,
  signed: { treeSize: bigint; root: Hash },
): Promise<void> {
  try {
    const root = await withTiles(
      (places) => findTiles(sql, log, places),
      (read) => rangeHash(read, 0, Number(signed.treeSize)),
    );
    requireSame(root, signed.root, signed.treeSize);
  } catch (error) {
    if (!(error instanceof MissingTileError)) throw error;
    throw new LogDivergedError(`of the ${signed.treeSize} leaves that were signed, ${error.message}`);
  }
}

function requireSame(root: Hash, signed: Hash, treeSize: bigint): void {
  if (root.equals(signed)) return;
  throw new LogDivergedError(`the root of the first ${treeSize} leaves is not the one that was signed`);
}
