import { sha256Hex } from '../../core/bytes.ts';
import { addMs, type Clock, toUnixSeconds } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { parseCheckpoint, parseCount } from '../log/checkpoint.ts';
import { parseNote, verifyNote } from '../log/note.ts';
import { NoteError } from '../log/note-error.ts';
import type { Checkpoint, LogName, Logs, TransparencyLog } from '../log/transparency-log.ts';
import { KEY_TYPES, type NoteKey, parseVkey } from '../log/vkey.ts';
import {
  ADD_CHECKPOINT,
  ADD_CHECKPOINT_BYTES_MAX,
  type AddCheckpoint,
  encodeAddCheckpoint,
  SIZE_TYPE,
} from './add-checkpoint.ts';
import { type BytesAnswer, fetchBytes } from './fetch-bytes.ts';

export type WitnessAddress = {
  /** The submission prefix, which is taken for the monitoring prefix too. */
  url: string;
  vkey: string;
};

/** How one witness stands with one log. */
export type WitnessStatus = {
  witness: string;
  log: LogName;
  /** The newest checkpoint it cosigned. */
  cosignedSize: number;
  health: { kind: 'ok' } | { kind: 'down'; detail: string };
};

export type Witnessing = {
  /** Has the newest checkpoint of each log cosigned where it is not. Settles within a bound, whatever the witness does. */
  run(signal: AbortSignal): Promise<void>;
  status(): WitnessStatus[];
};

export type WitnessingDeps = { logs: Logs; witness: WitnessAddress; clock: Clock; log: Log };

/** What is remembered of one log at the witness; a restart may forget it. */
type Standing = {
  /** What the witness said it cosigned last. */
  witnessSize: number;
  cosignedSize: number;
  failures: number;
  askAgainAt: Date;
  trouble: string | undefined;
  /** What it holds was compared with the log since this process started. */
  isCompared: boolean;
};

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 64 * 1024;
/** Its size is learned once; that it moves in between is the doing of another gateway of ours. */
const ATTEMPTS_MAX = 3;
const CLOCKS_APART_MAX_SECONDS = 300;
const BACK_OFF_FIRST_MS = 5_000;
const BACK_OFF_LAST_MS = 15 * 60_000;

/** As what a witness reports on a log. */
export function witnessSource({ vkey }: Pick<WitnessAddress, 'vkey'>): string {
  return `witness ${parseVkey(vkey).name}`;
}

/** Submits checkpoints to one witness (C2SP tlog-witness); what it answers is believed only under its key. */
export function createWitnessing(deps: WitnessingDeps): Witnessing {
  const key = parseVkey(deps.witness.vkey);
  if (key.type !== KEY_TYPES.cosignature) {
    throw new Error(`${key.name} is no witness: its key must be of type 4, for cosignatures`);
  }
  const { witness, clock } = deps;
  const pairs = Object.values(deps.logs).map((log) => ({ log, standing: newStanding(clock) }));
  return {
    async run(signal) {
      await Promise.all(
        pairs.map(({ log, standing }) =>
          bringUpToDate({ log, witness, key, clock }, { standing, journal: deps.log }, signal),
        ),
      );
    },
    status: () =>
      pairs.map(({ log, standing: { cosignedSize, trouble } }) => ({
        ...{ witness: key.name, log: log.name, cosignedSize },
        health: trouble === undefined ? { kind: 'ok' } : { kind: 'down', detail: trouble },
      })),
  };
}

type Submission = { log: TransparencyLog; witness: WitnessAddress; key: NoteKey; clock: Clock };

async function bringUpToDate(
  submission: Submission,
  { standing, journal }: { standing: Standing; journal: Log },
  signal: AbortSignal,
): Promise<void> {
  const { log, key, clock } = submission;
  const pauseMs = standing.askAgainAt.getTime() - clock.now().getTime();
  // More than is ever waited means that the clock was put back.
  if (pauseMs > 0 && pauseMs <= BACK_OFF_LAST_MS) return;
  try {
    // What was cosigned before an older backup was restored is known to nobody else, so that comes first.
    if (!standing.isCompared) await lookForFork(submission, standing, signal);
    const cosignedSize = await submit(submission, standing, signal);
    Object.assign(standing, { cosignedSize, failures: 0, trouble: undefined });
  } catch (cause) {
    if (signal.aborted) return;
    journal.warn({ witness: key.name, log: log.name, err: cause }, 'a checkpoint was not cosigned');
    backOff(standing, cause, clock);
  }
}

/** Answers the size of the newest checkpoint, once it is cosigned. */
async function submit(submission: Submission, standing: Standing, signal: AbortSignal): Promise<number> {
  const { log, witness, key } = submission;
  for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts += 1) {
    const checkpoint = await log.findCheckpoint();
    if (!checkpoint) return 0;
    const { treeSize, note } = checkpoint;
    if (isCosigned(checkpoint, key)) return treeSize;
    const oldSize = standing.witnessSize;
    // A larger tree that another gateway of ours signed since would have been found by this attempt.
    if (oldSize > treeSize) {
      await lookForFork(submission, standing, signal);
      throw new Error(`${witness.url} says that it cosigned ${oldSize} leaves, and ${treeSize} are signed`);
    }
    const proof = await log.proveConsistency({ fromSize: oldSize, toSize: treeSize });
    const answer = await ask(witness, { oldSize, proof, checkpoint: note }, signal);
    if (answer.status === 200) {
      const line = readCosignature(answer, checkpoint, submission);
      await log.addCosignature({ treeSize, witness: key.vkey, line });
      standing.witnessSize = treeSize;
      if (!standing.isCompared) log.reportSound(witnessSource(witness));
      standing.isCompared = true;
      return treeSize;
    }
    const size = readConflict(answer);
    if (size === undefined || size === oldSize) {
      await lookForFork(submission, standing, signal);
      throw new Error(`${witness.url} answered ${answer.status}: ${excerpt(answer)}`);
    }
    standing.witnessSize = size;
  }
  throw new Error(`${witness.url} says another size each time`);
}

function ask(witness: WitnessAddress, request: AddCheckpoint, signal: AbortSignal): Promise<BytesAnswer> {
  const url = `${witness.url}${ADD_CHECKPOINT}`;
  const bounds = { timeoutMs: TIMEOUT_MS, bytesMax: ANSWER_BYTES_MAX };
  return fetchBytes({ ...bounds, url, body: encodeAddCheckpoint(request) }, signal);
}

/** The witness's line for exactly this checkpoint; throws when there is none, or when its time is far from ours. */
function readCosignature(answer: BytesAnswer, { note }: Checkpoint, { key, clock }: Submission): string {
  const { text } = parseNote(note);
  const [cosignature] = verifyNote(`${text}\n${answer.bytes.toString('utf8')}`, [key]).signatures;
  const time = cosignature?.time ?? 0;
  const apart = Math.abs(time - toUnixSeconds(clock.now()));
  if (!cosignature || apart > CLOCKS_APART_MAX_SECONDS) {
    throw new Error(`${key.name} cosigned at ${time}, which is ${apart} seconds from our time`);
  }
  return cosignature.line;
}

/** The size that a witness has instead of the one it was told. */
function readConflict({ status, contentType, bytes }: BytesAnswer): number | undefined {
  if (status !== 409 || contentType.split(';')[0]?.trim() !== SIZE_TYPE) return undefined;
  return parseCount(bytes.toString('latin1').replace(/\n$/, ''), 'The size that the witness says');
}

/**
 * A witness that is ahead of us, or finds us inconsistent, may lie. What it holds settles it: a checkpoint under our
 * own key that this log does not lead to means that the log was put back to an older state, or that the key is used
 * elsewhere. That is a proof, so nothing that the witness says later takes it back.
 */
async function lookForFork(
  { log, witness, key }: Submission,
  standing: Standing,
  signal: AbortSignal,
): Promise<void> {
  const url = `${witness.url}/${sha256Hex(log.origin)}/checkpoint`;
  const answer = await fetchBytes({ url, timeoutMs: TIMEOUT_MS, bytesMax: ADD_CHECKPOINT_BYTES_MAX }, signal);
  if (answer.status >= 500) throw new Error(`${url} answered ${answer.status}: ${excerpt(answer)}`);
  const held = answer.status === 200 ? readHeld(answer.bytes.toString('utf8'), log) : undefined;
  if (answer.status === 200 && !held) return;
  const head = await log.readHead();
  const source = witnessSource(witness);
  const isOurs =
    !held || (held.treeSize <= head.treeSize && (await log.rootAt(held.treeSize)).equals(held.root));
  // Under another key, for example one from before a rotation, only what agrees with us says anything.
  if (held && !isOurs && !held.isUnderOurKey) return;
  if (isOurs && !standing.isCompared) log.reportSound(source);
  standing.isCompared = true;
  if (!held || isOurs) return;
  const { treeSize, root } = held;
  const detail =
    `the witness ${key.name} holds a checkpoint of ${treeSize} leaves under this log's key, root ` +
    `${root.toString('base64')}, and the log does not have that root`;
  log.reportDivergence({ source, detail });
}

/** What a witness holds of this log, and whether a key of ours vouches for it. */
function readHeld(note: string, log: TransparencyLog) {
  try {
    const body = parseCheckpoint(parseNote(note).text);
    return body.origin === log.origin ? { ...body, isUnderOurKey: isUnderKeys(note, log.vkeys) } : undefined;
  } catch (cause) {
    if (cause instanceof NoteError) return undefined;
    throw cause;
  }
}

function isUnderKeys(note: string, vkeys: readonly string[]): boolean {
  try {
    return verifyNote(note, vkeys.map(parseVkey)).signatures.length > 0;
  } catch (cause) {
    if (cause instanceof NoteError) return false;
    throw cause;
  }
}

function isCosigned({ note }: Checkpoint, key: NoteKey): boolean {
  return parseNote(note).signatures.some(({ name, keyId }) => name === key.name && keyId === key.keyId);
}

function backOff(standing: Standing, cause: unknown, clock: Clock): void {
  standing.trouble = cause instanceof Error ? cause.message : String(cause);
  const ms = Math.min(BACK_OFF_FIRST_MS * 2 ** Math.min(standing.failures, 30), BACK_OFF_LAST_MS);
  standing.failures += 1;
  standing.askAgainAt = addMs(clock.now(), ms);
  // Its state may have been what misled us.
  standing.witnessSize = 0;
}

function newStanding(clock: Clock): Standing {
  return {
    ...{ witnessSize: 0, cosignedSize: 0, failures: 0 },
    ...{ askAgainAt: clock.now(), trouble: undefined, isCompared: false },
  };
}

function excerpt({ bytes }: BytesAnswer): string {
  return bytes.toString('utf8').slice(0, 200).trim();
}
