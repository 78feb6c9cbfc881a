import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { Problem } from '../../core/problem.ts';
import type { Sql } from '../../db/index.ts';
import { appendEntries } from './append.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { LogDivergedError } from './divergence.ts';
import { type NoteSignature, parseNote, parseSignatureLine, signLine, verifyNoteSignature } from './note.ts';
import { requireNote } from './note-error.ts';
import { createLogReader } from './reader.ts';
import { signHead } from './sign.ts';
import { findLogCheckpoint, insertCosignature, type LogCheckpointRow } from './store.ts';
import {
  type Checkpoint,
  LOG_IDS,
  type LogHealth,
  type LogName,
  type TransparencyLog,
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
};

/** One of the logs of this installation, which any number of gateways share. */
export function createLog(deps: LogDeps): TransparencyLog {
  const { sql, clock, name, origin, keys } = deps;
  const log = LOG_IDS[name];
  const signers = [keys.currentPem, keys.previousPem]
    .filter((pem) => pem !== undefined)
    .map((privateKeyPem) => createNoteSigner({ name: origin, privateKeyPem }));
  const reader = createLogReader(sql, log);
  let health: LogHealth = { kind: 'sound' };

  function reportDivergence(detail: string): void {
    if (health.kind === 'sound') deps.log.error({ log: name, origin, detail }, 'the log diverged');
    health = { kind: 'diverged', detail };
  }

  /** What shows that the log is not what it was is remembered, and goes on to whoever asked. */
  async function watch<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof LogDivergedError) reportDivergence(error.divergence);
      throw error;
    }
  }

  async function sign(): Promise<Checkpoint | undefined> {
    if (health.kind === 'diverged') throw new LogDivergedError(health.detail);
    const signed = await signHead({ sql, clock, log, origin, signers });
    // Its root was just recomputed, so a key that came with a rotation may sign it too: readers of that key alone
    // need not wait for the next leaf.
    if (signed && (await signWithNewKeys(signed))) return toCheckpoint(await findLogCheckpoint(sql, log));
    return toCheckpoint(signed);
  }

  async function signWithNewKeys({ treeSize, note }: LogCheckpointRow): Promise<boolean> {
    const { text, signatures } = parseNote(note);
    const missing = signers.filter((signer) => !signatures.some((line) => isBy(line, signer)));
    if (parseCheckpoint(text).origin !== origin) return false;
    for (const signer of missing) {
      const line = signLine(text, signer);
      await insertCosignature(sql, log, { treeSize: Number(treeSize), witness: signer.vkey, line });
    }
    return missing.length > 0;
  }

  return {
    name,
    origin,
    vkeys: signers.map(({ vkey }) => vkey),
    append: (tx, entries) => watch(appendEntries(tx, log, entries)),
    sign: () => watch(sign()),
    findCheckpoint: async (treeSize) => toCheckpoint(await findLogCheckpoint(sql, log, treeSize)),
    addCosignature: (cosignature) => addCosignature(sql, log, cosignature),
    readHead: () => watch(reader.readHead()),
    rootAt: (treeSize) => watch(reader.rootAt(treeSize)),
    proveInclusion: (claim) => watch(reader.proveInclusion(claim)),
    proveConsistency: (claim) => watch(reader.proveConsistency(claim)),
    readEntries: reader.readEntries,
    readTile: reader.readTile,
    readEntryTile: reader.readEntryTile,
    health: () => health,
    reportDivergence,
  };
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
