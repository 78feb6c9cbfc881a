import { z } from 'zod';
import { sha256Hex } from '../../core/bytes.ts';
import { decodeLeaf, type Leaf } from '../log/leaf.ts';
import type { Bundle } from './bundle.ts';
import { type Findings, tellTime } from './findings.ts';
import { check, refute } from './refuted.ts';
import { latestTime, type Trust } from './trust.ts';

/** The members of a manifest that its leaf says too. */
const manifestSchema = z.object({ name: z.string(), version: z.string(), code: z.string() });

/** What the leaf says: in the log's one spelling, of the version that was asked for, with the code at hand. */
export function checkLeaf(bundle: Bundle, trust: Trust, findings: Findings): Leaf {
  const leaf = decodeLeaf(Buffer.from(bundle.entry, 'utf8'));
  if (!leaf) return refute('the entry is not spelled as the log spells leaves (mcp-log/v1)');
  findings.checked.push(`The leaf is spelled as the log spells leaves, and says: ${tellLeaf(leaf)}.`);
  check(
    leaf.time <= latestTime(trust),
    `the leaf claims to be logged at ${tellTime(leaf.time)}, which is to come`,
  );
  checkVersion(leaf, trust, findings);
  checkManifest(leaf, bundle.manifest, findings);
  return leaf;
}

function checkVersion(leaf: Leaf, { version, codeSha256 }: Trust, findings: Findings): void {
  if (version) {
    const isAsked = leaf.kind === 'publish' && leaf.tool === version.tool && leaf.version === version.version;
    check(isAsked, `the leaf does not publish ${version.tool} ${version.version}`);
  }
  if (codeSha256 === undefined) {
    if (leaf.kind !== 'publish') return;
    findings.notChecked.push(
      `The code itself, whose archive has SHA-256 ${leaf.sha256}: give it with --code.`,
    );
    return;
  }
  check(leaf.kind === 'publish', 'the leaf does not publish code, and code was given');
  const isSame = leaf.sha256 === codeSha256;
  check(isSame, `the code at hand has SHA-256 ${codeSha256}, and the leaf publishes ${leaf.sha256}`);
  findings.checked.push(`The code at hand is the code that was published (SHA-256 ${codeSha256}).`);
}

function checkManifest(leaf: Leaf, manifest: string | null, findings: Findings): void {
  if (manifest === null) {
    if (leaf.kind === 'publish') {
      findings.notChecked.push('The manifest: the bundle carries none, and the leaf only its SHA-256.');
    }
    return;
  }
  check(leaf.kind === 'publish', 'the bundle carries a manifest, and its leaf publishes nothing');
  check(sha256Hex(manifest) === leaf.manifest, 'the manifest is not the one that the leaf names');
  const facts = manifestSchema.safeParse(parseJson(manifest));
  check(facts.success, 'the manifest is not readable');
  const { name, version, code } = facts.data;
  const isSame = name === leaf.tool && version === leaf.version && code === `sha256:${leaf.sha256}`;
  check(isSame, 'the manifest is of another version or other code than the leaf');
  findings.checked.push('The manifest is the one that the leaf names, of the same version and code.');
}

function tellLeaf(leaf: Leaf): string {
  const at = tellTime(leaf.time);
  switch (leaf.kind) {
    case 'publish':
      return `${leaf.publisher} published ${leaf.tool} ${leaf.version} at ${at}`;
    case 'yank':
      return `${leaf.publisher} took back ${leaf.tool} ${leaf.version} at ${at}`;
    case 'transfer':
      return `${leaf.tool} went from ${leaf.from} to ${leaf.to} at ${at}`;
    case 'key-add':
      return `${leaf.publisher} registered the ${leaf.format} key ${leaf.key} at ${at}`;
    case 'key-revoke':
      return `${leaf.publisher} revoked the ${leaf.format} key ${leaf.key} at ${at}`;
    case 'anchor-contract':
      return `the log of ${leaf.log} is anchored in ${leaf.contract} on chain ${leaf.chain} since ${at}`;
    default:
      return leaf satisfies never;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
