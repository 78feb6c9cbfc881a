import { sha256Hex } from '../../core/bytes.ts';
import { type Clock, toUnixSeconds } from '../../core/clock.ts';
import { type CheckpointBody, parseCheckpoint } from '../log/checkpoint.ts';
import { parseNote, signLine, type VerifiedNote, verifyNote } from '../log/note.ts';
import { NoteError } from '../log/note-error.ts';
import type { NoteKey, NoteSigner } from '../log/vkey.ts';
import { EMPTY_ROOT, verifyConsistency } from '../merkle/merkle.ts';
import { type AddCheckpoint, decodeAddCheckpoint } from './add-checkpoint.ts';

/** What a witness remembers: the newest checkpoint of each log that it cosigned, as a note. */
export type WitnessStore = {
  read(origin: string): Promise<string | undefined>;
  /** Lasting once it resolves. */
  write(origin: string, note: string): Promise<void>;
  /** Meanwhile nobody else, in this process or another, writes of this log; what fails holds nobody up. */
  alone<Result>(origin: string, work: () => Promise<Result>): Promise<Result>;
};

export type WitnessAnswer =
  /** Signature lines to put under the checkpoint. */
  | { kind: 'cosigned'; signatures: string }
  /** The proof does not start where this witness is. */
  | { kind: 'conflict'; treeSize: number }
  | { kind: 'malformed' | 'untrusted' | 'unknown-log' | 'inconsistent'; reason: string };

/** Says "I saw this checkpoint, and nothing that contradicts it" (C2SP tlog-witness, tlog-cosignature). */
export type Witness = {
  addCheckpoint(body: Uint8Array): Promise<WitnessAnswer>;
  /** The newest cosigned checkpoint of the log whose origin has this SHA-256, in lower case hex. */
  readCheckpoint(originHash: string): Promise<string | undefined>;
};

/** Two checkpoints that a log signed and that cannot both be true. */
export type Fork = { origin: string; held: string; presented: string };

export type WitnessDeps = {
  /** Makes cosignatures. */
  signer: NoteSigner;
  /** Which logs are known: a log's origin is the name of its keys, several during a rotation. */
  logs: readonly NoteKey[];
  store: WitnessStore;
  clock: Clock;
  onFork(fork: Fork): void;
};

type Held = CheckpointBody & { note: string };

/** Rejects when something in the store is not what this witness cosigned: it must not guess where it was. */
export async function createWitness(deps: WitnessDeps): Promise<Witness> {
  const { store } = deps;
  const keysByOrigin = groupByName(deps.logs);
  const origins = new Map([...keysByOrigin.keys()].map((origin) => [sha256Hex(origin), origin]));
  for (const origin of keysByOrigin.keys()) await readHeld(deps, origin);
  return {
    async addCheckpoint(body) {
      const request = readRequest(body);
      if (request.kind === 'malformed') return request;
      const { origin } = request.body;
      const keys = keysByOrigin.get(origin);
      if (!keys) return { kind: 'unknown-log', reason: 'This log is not known here.' };
      const note = verifyLog(request.checkpoint, keys);
      if ('kind' in note) return note;
      if (request.oldSize > request.body.treeSize) {
        return { kind: 'malformed', reason: 'The old size is above that of the checkpoint.' };
      }
      // What is compared with what is held must still be held when the new one is written.
      return store.alone(origin, async () => {
        const held = await readHeld(deps, origin);
        const refusal = judge(request, held);
        if (refusal) {
          if (held && isFork(request.body, held)) {
            deps.onFork({ origin, held: held.note, presented: request.checkpoint });
          }
          return refusal;
        }
        return cosign(deps, origin, note);
      });
    },
    async readCheckpoint(originHash) {
      const origin = origins.get(originHash);
      return origin === undefined ? undefined : (await readHeld(deps, origin))?.note;
    },
  };
}

type Request = AddCheckpoint & { kind: 'readable'; body: CheckpointBody };

function readRequest(bytes: Uint8Array): Request | { kind: 'malformed'; reason: string } {
  try {
    const request = decodeAddCheckpoint(bytes);
    const body = parseCheckpoint(parseNote(request.checkpoint).text);
    return { ...request, kind: 'readable', body };
  } catch (cause) {
    return { kind: 'malformed', reason: reasonOf(cause) };
  }
}

function verifyLog(
  checkpoint: string,
  keys: readonly NoteKey[],
): VerifiedNote | { kind: 'untrusted'; reason: string } {
  try {
    return verifyNote(checkpoint, keys);
  } catch (cause) {
    return { kind: 'untrusted', reason: reasonOf(cause) };
  }
}

/** Why the checkpoint is not cosigned; in the order of the specification. */
function judge({ oldSize, proof, body }: Request, held: Held | undefined): WitnessAnswer | undefined {
  const treeSize = held?.treeSize ?? 0;
  if (oldSize !== treeSize) return { kind: 'conflict', treeSize };
  if (body.treeSize === 0 && !body.root.equals(EMPTY_ROOT)) {
    return { kind: 'inconsistent', reason: 'This is not the root of an empty tree.' };
  }
  if (oldSize === 0 && proof.length > 0) {
    return { kind: 'inconsistent', reason: 'From size 0 there is nothing to prove.' };
  }
  const isConsistent =
    !held ||
    oldSize === 0 ||
    verifyConsistency({
      ...{ fromSize: oldSize, fromRoot: held.root, toSize: body.treeSize, toRoot: body.root },
      path: proof,
    });
  if (isConsistent) return undefined;
  return { kind: 'inconsistent', reason: 'The proof does not lead from what was cosigned last to this.' };
}

function isFork(presented: CheckpointBody, held: CheckpointBody): boolean {
  return presented.treeSize === held.treeSize && !presented.root.equals(held.root);
}

/** On the disk before it is said: after a crash the witness must not cosign anything that contradicts it. */
async function cosign(deps: WitnessDeps, origin: string, note: VerifiedNote): Promise<WitnessAnswer> {
  const line = signLine(note.text, deps.signer, toUnixSeconds(deps.clock.now()));
  const lines = [...note.signatures.map((signature) => signature.line), line];
  await deps.store.write(origin, `${note.text}\n${lines.join('')}`);
  return { kind: 'cosigned', signatures: line };
}

async function readHeld({ store, signer }: WitnessDeps, origin: string): Promise<Held | undefined> {
  const note = await store.read(origin);
  if (note === undefined) return undefined;
  try {
    const body = parseCheckpoint(verifyNote(note, [signer]).text);
    if (body.origin !== origin) throw new NoteError(`It is of ${body.origin}.`);
    return { ...body, note };
  } catch (cause) {
    throw new Error(
      `What is kept of ${origin} is not what this witness cosigned. ${reasonOf(cause)} Bring it back from a copy ` +
        'that is not older, or take a new key: with an older state a fork could be cosigned.',
      { cause },
    );
  }
}

function reasonOf(cause: unknown): string {
  if (cause instanceof NoteError) return cause.message;
  throw cause;
}

function groupByName(keys: readonly NoteKey[]): Map<string, NoteKey[]> {
  const groups = new Map<string, NoteKey[]>();
  for (const key of keys) groups.set(key.name, [...(groups.get(key.name) ?? []), key]);
  return groups;
}
