import { setTimeout as sleep } from 'node:timers/promises';
import { type VerifiedCheckpoint, verifyCheckpoint } from '../../log/checkpoint.ts';
import { parseNote } from '../../log/note.ts';
import { NoteError } from '../../log/note-error.ts';
import type { NoteKey } from '../../log/vkey.ts';
import { Alarm } from './alarm.ts';
import type { RemoteLog } from './remote-log.ts';

/** Whose cosignatures a checkpoint must have, how many of them, and how long it may take until they are there. */
export type WitnessPolicy = { keys: readonly NoteKey[]; needed: number; waitMs: number };

export type TrustInput = {
  /** The key that is trusted already. */
  pinned: NoteKey;
  /** The key that the operator says follows it. */
  accepted: NoteKey | undefined;
  witnesses: WitnessPolicy;
};

export type TrustedCheckpoint = VerifiedCheckpoint & {
  note: string;
  /** What signs from now on. */
  key: NoteKey;
  /** Ids of further keys under the log's name, which nobody vouches for. */
  strangers: readonly string[];
};

const ASK_EVERY_MS = 1_000;

/**
 * The newest checkpoint, under the pinned key and with enough cosignatures; undefined when there is none. The pinned
 * key vouches for the text of a checkpoint, not for the lines under it, and anyone can add a line: a second key is
 * therefore taken only when the operator names it and both sign.
 */
export async function fetchTrusted(
  remote: RemoteLog,
  input: TrustInput,
  onNote: (note: string) => void,
  signal: AbortSignal,
): Promise<TrustedCheckpoint | undefined> {
  for (let waitedMs = 0; ; waitedMs += ASK_EVERY_MS) {
    const note = await remote.readCheckpoint();
    if (note === undefined) return undefined;
    onNote(note);
    const checkpoint = trust(note, input);
    const { length } = checkpoint.cosignatures;
    // Witnesses begin with the first leaf: of nothing there are no two histories.
    if (length >= input.witnesses.needed || checkpoint.treeSize === 0) return checkpoint;
    if (waitedMs >= input.witnesses.waitMs) {
      throw new Alarm(
        'uncosigned',
        `${length} of the ${input.witnesses.needed} witnesses asked for cosigned it`,
      );
    }
    await sleep(ASK_EVERY_MS, undefined, { signal });
  }
}

/** Reads a note that must hold under the pinned key; throws an `Alarm` for what does not. */
export function trust(note: string, { pinned, accepted, witnesses }: TrustInput): TrustedCheckpoint {
  const expected = { origin: pinned.name, witnesses: witnesses.keys };
  try {
    const signers = parseNote(note).signatures.filter(({ name }) => name === pinned.name);
    if (!signers.some(({ keyId }) => keyId === pinned.keyId)) {
      const ids = signers.map(({ keyId }) => keyId).join(', ') || 'none';
      throw new Alarm(
        'changed-key',
        `the key ${pinned.keyId} that is trusted did not sign; keys that did: ${ids}`,
      );
    }
    const checkpoint = verifyCheckpoint(note, { ...expected, logKeys: [pinned] });
    if (accepted) verifyCheckpoint(note, { ...expected, logKeys: [accepted] });
    const key = accepted ?? pinned;
    const strangers = signers
      .map(({ keyId }) => keyId)
      .filter((id) => id !== pinned.keyId && id !== key.keyId);
    return { ...checkpoint, note, key, strangers };
  } catch (cause) {
    if (cause instanceof NoteError) throw new Alarm('bad-signature', cause.message);
    throw cause;
  }
}
