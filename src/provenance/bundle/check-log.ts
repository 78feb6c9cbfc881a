import { type CheckpointBody, parseCheckpoint } from '../log/checkpoint.ts';
import { parseNote, verifyNote } from '../log/note.ts';
import { NoteError } from '../log/note-error.ts';
import { parseTlogProof } from '../log/tlog-proof.ts';
import { KEY_TYPES, type NoteKey, parseVkey } from '../log/vkey.ts';
import { leafHashOf, verifyInclusion } from '../merkle/merkle.ts';
import { type Findings, tellTime } from './findings.ts';
import { check, RefutedError } from './refuted.ts';
import { secondLeafHash, verifySecondInclusion } from './second-path.ts';
import { latestTime, type Trust } from './trust.ts';

export type LogClaim = {
  origin: string;
  vkey: string;
  /** Vkeys of witnesses that are said to have cosigned. */
  witnesses: readonly string[];
  entry: Buffer;
  leafIndex: number;
  tlogProof: string;
};

/** That the log holds the leaf at its index, by a checkpoint that the log's key signed; answers the checkpoint. */
export function checkLog(claim: LogClaim, trust: Trust, findings: Findings): CheckpointBody {
  const { index, path, checkpoint: note, extra } = parseTlogProof(claim.tlogProof);
  check(extra === undefined, 'the proof of inclusion carries extra data, which nothing vouches for');
  check(index === claim.leafIndex, 'the proof of inclusion is for another leaf index');
  const key = readLogKey(claim, trust, findings);
  const checkpoint = parseCheckpoint(openSigned(note, key, 'the checkpoint'));
  check(checkpoint.origin === claim.origin, `the checkpoint is of another log, ${checkpoint.origin}`);
  check(checkpoint.extensions.length === 0, 'the checkpoint has lines that nobody audits');
  const { treeSize, root } = checkpoint;
  check(index < treeSize, `leaf ${index} is not in a tree of ${treeSize} leaves`);
  const inTree = { index, treeSize, path, root };
  const isIncluded = verifyInclusion({ ...inTree, leafHash: leafHashOf(claim.entry) });
  const isIncludedToo = verifySecondInclusion({ ...inTree, leafHash: secondLeafHash(claim.entry) });
  check(
    isIncluded === isIncludedToo,
    'the two implementations of the tree do not agree on the proof of inclusion',
  );
  check(
    isIncluded,
    `the proof of inclusion does not lead from the leaf at index ${index} to the checkpoint's root`,
  );
  findings.checked.push(
    `The leaf is number ${index} (counted from 0) of the ${treeSize} of the log ${claim.origin}, by two ` +
      'implementations: our own and merkletreejs.',
    `The checkpoint of that tree is signed by the log's key ${key.name} (${key.keyId}).`,
  );
  checkWitnesses({ note, origin: claim.origin, witnesses: claim.witnesses }, trust, findings);
  return checkpoint;
}

/** The text of a note, once this one key is seen to have signed it. `what` names it in the reason. */
export function openSigned(note: string, key: NoteKey, what: string): string {
  try {
    return verifyNote(note, [key]).text;
  } catch (cause) {
    if (!(cause instanceof NoteError)) throw cause;
    throw new RefutedError(`${what} does not verify under the key ${key.vkey}: ${cause.message}`, { cause });
  }
}

function readLogKey({ origin, vkey }: LogClaim, trust: Trust, findings: Findings): NoteKey {
  const { vkeys, vkeysFrom = 'which you gave' } = trust;
  const key = parseVkey(vkey);
  check(key.type === KEY_TYPES.ed25519, "the log's key is one that cosigns, and does not sign for a log");
  check(key.name === origin, `the log's key is named ${key.name}, and its origin is ${origin}`);
  if (!vkeys) {
    findings.trusted.push(`The log's key, as the bundle names it: ${vkey} (pin it with --vkey).`);
    return key;
  }
  check(vkeys.includes(vkey), `it is signed under ${vkey}, which is not among the keys ${vkeysFrom}`);
  findings.trusted.push(`The log's key, ${vkeysFrom}: ${vkey}.`);
  return key;
}

type Cosigned = { note: string; origin: string; witnesses: readonly string[] };

function checkWitnesses({ note, origin, witnesses }: Cosigned, trust: Trust, findings: Findings): void {
  const asked = trust.witnesses ?? [];
  const all = [...new Set([...witnesses, ...asked])];
  check(witnesses.length === new Set(witnesses).size, 'a witness is named twice');
  const { signatures } = parseNote(note);
  for (const vkey of all) {
    const witness = parseVkey(vkey);
    check(witness.type === KEY_TYPES.cosignature, `the key of ${witness.name} is not one that cosigns`);
    const isThere = signatures.some(({ name, keyId }) => name === witness.name && keyId === witness.keyId);
    check(isThere, `the witness ${witness.name} did not cosign the checkpoint`);
    const [signature] = verifyNote(note, [witness]).signatures;
    const time = signature?.time ?? Number.POSITIVE_INFINITY;
    check(
      time <= latestTime(trust),
      `the cosignature of ${witness.name} is of ${tellTime(time)}, which is to come`,
    );
    findings.checked.push(`The witness ${witness.name} cosigned the checkpoint at ${tellTime(time)}.`);
    const whose = asked.includes(vkey) ? 'which you gave' : 'as the bundle names it (pin it with --witness)';
    findings.trusted.push(`The key of the witness ${witness.name}, ${whose}.`);
  }
  if (all.length > 0) return;
  findings.notChecked.push(
    `That ${origin} shows everybody the same tree: no witness cosigned this checkpoint.`,
  );
}
