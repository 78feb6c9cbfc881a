import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { Problem } from '../../core/problem.ts';
import type { Sql } from '../../db/index.ts';
import { EMPTY_ROOT } from '../merkle/merkle.ts';
import { appendEntries, appendWritten } from './append.ts';
import { encodeCheckpoint, parseCheckpoint } from './checkpoint.ts';
import { LogDivergedError } from './divergence.ts';
import { createDivergences } from './divergences.ts';
import {
  type NoteSignature,
  parseNote,
  parseSignatureLine,
  signLine,
  signNote,
  verifyNoteSignature,
} from './note.ts';
import { requireNote } from './note-error.ts';
import { createLogReader } from './reader.ts';
import { type SignDeps, signHead } from './sign.ts';
import { findLogCheckpoint, insertCosignature, type LogCheckpointRow } from './store.ts';
import {
  type Checkpoint,
  LOG_IDS,
  type LogName,
  type TransparencyLog,
  type TreeHead,
} from './transparency-log.ts';
import { createNoteSigner, type NoteKey, parseVkey } from './vkey.ts';

export type LogDeps = {
  sql: Sql;
  clock: Clock;
  log: Log;
  name: LogName;
  origin: string;
  /** Ed25519 keys as PKCS#8 PEM; the previous one signs beside the current one during a rotation. */
  keys: { currentPem: string; previousPem?: string | undefined };
  /** Who looks at the log from outside and reports as these sources; nothing new is signed before that. */
  watchers?: readonly string[];
  /** How long those that did not look yet are waited for, once one of them did. */
  watcherGraceMs?: number;
};

/** What the log itself finds stays until the process is started anew: its operator has to look. */
const TREE = 'tree';

const WATCHER_GRACE_MS = 60_000;

/** One of the logs of this installation, which any number of gateways share. */
export function createLog(deps: LogDeps): TransparencyLog {
  const { sql, clock, name, origin, keys } = deps;
  const log = LOG_IDS[name];
  const signers = [keys.currentPem, keys.previousPem]
    .filter((pem) => pem !== undefined)
    .map((privateKeyPem) => createNoteSigner({ name: origin, privateKeyPem }));
  const reader = createLogReader(sql, log);
  const divergences = createDivergences({
    ...{ log: deps.log, name, origin, watchers: deps.watchers ?? [] },
    graceMs: deps.watcherGraceMs ?? WATCHER_GRACE_MS,
  });
  /** What this process signed or saw signed: a database that lost it was put back while the process ran. */
  let known: TreeHead | undefined;

  /** What shows that the log is not what it was is remembered, and goes on to whoever asked. */
  async function watch<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof LogDivergedError) {
        divergences.report({ source: TREE, detail: error.divergence });
      }
      throw error;
    }
  }

  async function sign(): Promise<Checkpoint | undefined> {
    const health = divergences.health();
    if (health.kind === 'diverged') throw new LogDivergedError(health.detail);
    return health.kind === 'waiting' ? toCheckpoint(await findLogCheckpoint(sql, log)) : watch(signGrown());
  }

  async function signGrown(): Promise<Checkpoint | undefined> {
    const signed = await signHead({ sql, clock, log, origin, signers, known });
    if (signed && signed.treeSize >= (known?.treeSize ?? 0)) {
      known = { treeSize: Number(signed.treeSize), root: signed.root };
    }
    // Its root was just recomputed, so a key that came with a rotation may sign it too: readers of that key alone
    // need not wait for the next leaf.
    if (signed && (await signWithNewKeys({ sql, log, origin, signers }, signed)))
      return toCheckpoint(await findLogCheckpoint(sql, log));
    return toCheckpoint(signed);
  }

  return {
    name,
    origin,
    vkeys: signers.map(({ vkey }) => vkey),
    emptyCheckpoint: signNote(encodeCheckpoint({ origin, treeSize: 0, root: EMPTY_ROOT }), signers),
    append: (tx, entries) => watch(appendEntries(tx, log, entries)),
    appendWritten: (tx, write) => watch(appendWritten(tx, log, write)),
    sign,
    findCheckpoint: async (treeSize) => toCheckpoint(await findLogCheckpoint(sql, log, treeSize)),
    addCosignature: (cosignature) => addCosignature(sql, log, cosignature),
    readHead: () => watch(reader.readHead()),
    rootAt: (treeSize) => watch(reader.rootAt(treeSize)),
    proveInclusion: (claim) => watch(reader.proveInclusion(claim)),
    proveConsistency: (claim) => watch(reader.proveConsistency(claim)),
    readEntries: reader.readEntries,
    readTile: reader.readTile,
    readEntryTile: reader.readEntryTile,
    health: divergences.health,
    reportDivergence: divergences.report,
    reportSound: divergences.reportSound,
  };
}

/** Puts lines of keys that did not sign a checkpoint yet under it; true when there were such keys. */
async function signWithNewKeys(
  { sql, log, origin, signers }: Pick<SignDeps, 'sql' | 'log' | 'origin' | 'signers'>,
  { treeSize, note }: LogCheckpointRow,
): Promise<boolean> {
  const { text, signatures } = parseNote(note);
  const missing = signers.filter((signer) => !signatures.some((line) => isBy(line, signer)));
  if (parseCheckpoint(text).origin !== origin) return false;
  for (const signer of missing) {
    const line = signLine(text, signer);
    await insertCosignature(sql, log, { treeSize: Number(treeSize), witness: signer.vkey, line });
  }
  return missing.length > 0;
}

/** The origin of the newest checkpoint of a log: the name it goes by, whatever the gateway is called now. */
export async function readLoggedOrigin(sql: Sql, name: LogName): Promise<string | undefined> {
  const checkpoint = await findLogCheckpoint(sql, LOG_IDS[name]);
  return checkpoint?.note.split('\n', 1)[0];
}

async function addCosignature(
  sql: Sql,
  log: number,
  { treeSize, witness, line }: { treeSize: number; witness: string; line: string },
): Promise<void> {
  const checkpoint = await findLogCheckpoint(sql, log, treeSize);
  if (!checkpoint) throw new Problem('not-found', { detail: `No checkpoint has ${treeSize} leaves.` });
  // A line that does not hold would spoil the whole note for whoever knows the witness.
  const [signature, key] = [parseSignatureLine(line), parseVkey(witness)];
  requireNote(isBy(signature, key), `The line is not of ${witness}.`);
  verifyNoteSignature(parseNote(checkpoint.note).text, signature, key);
  await insertCosignature(sql, log, { treeSize, witness, line });
}

function isBy(signature: NoteSignature, key: NoteKey): boolean {
  return signature.name === key.name && signature.keyId === key.keyId;
}

function toCheckpoint(row: LogCheckpointRow | undefined): Checkpoint | undefined {
  return row && { treeSize: Number(row.treeSize), root: row.root, note: row.note, signedAt: row.signedAt };
}
