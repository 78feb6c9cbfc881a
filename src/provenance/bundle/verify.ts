import type { Leaf } from '../log/leaf.ts';
import { parseNote } from '../log/note.ts';
import { parseVkey } from '../log/vkey.ts';
import { type Bundle, bundleNoteText, bundleSchema } from './bundle.ts';
import { checkAnchors } from './check-anchor.ts';
import { checkLeaf } from './check-leaf.ts';
import { checkLog, openSigned } from './check-log.ts';
import { type Findings, newFindings } from './findings.ts';
import { check, RefutedError } from './refuted.ts';
import type { Trust } from './trust.ts';
import { type Invalid, tellReason } from './verdict.ts';

export type BundleVerdict = ({ kind: 'valid'; bundle: Bundle; leaf: Leaf } & Findings) | Invalid;

/**
 * Whether everything in a bundle holds together, and matches what is known from elsewhere. Asks nobody and never
 * throws: whatever is given, the answer is a verdict with its reason.
 */
export function verifyBundle(given: unknown, trust: Trust = {}): BundleVerdict {
  try {
    const bundle = readBundle(given);
    const findings = newFindings();
    const leaf = checkLeaf(bundle, trust, findings);
    const { log, entry, ...rest } = bundle;
    const checkpoint = checkLog({ ...log, ...rest, entry: Buffer.from(entry, 'utf8') }, trust, findings);
    checkSignature(bundle, findings);
    checkAnchors(bundle, checkpoint, trust, findings);
    if (leaf.kind === 'publish') {
      findings.notChecked.push('Whether the version was taken back later: a yank is a leaf of its own.');
    }
    return { kind: 'valid', bundle, leaf, ...findings };
  } catch (cause) {
    return { kind: 'invalid', reason: tellReason(cause) };
  }
}

function readBundle(given: unknown): Bundle {
  const parsed = bundleSchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.map(String).join('.') ?? '';
  throw new RefutedError(
    `it is not a bundle: ${path === '' ? '' : `${path}: `}${issue?.message ?? 'malformed'}`,
  );
}

/** The log's word on the bundle as a whole, by its one key: further lines would be something nothing vouches for. */
function checkSignature(bundle: Bundle, findings: Findings): void {
  const { signature, log } = bundle;
  check(parseNote(signature).signatures.length === 1, "the bundle's signature has more than one line");
  const text = openSigned(signature, parseVkey(log.vkey), 'the signature of the bundle');
  check(text === bundleNoteText(bundle), 'the bundle was changed after it was signed');
  findings.checked.push('The bundle as a whole is signed by the same key: nothing in it was changed since.');
}
