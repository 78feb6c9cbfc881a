import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { VERSION_ANCHOR_CODE_HASH } from '../../../src/provenance/anchors/evm/version-anchor-abi.ts';
import { bundleNoteText } from '../../../src/provenance/bundle/bundle.ts';
import { makeBundle } from '../../../src/provenance/bundle/make.ts';
import {
  type Bundle,
  encodeTlogProof,
  leafHashOf,
  nodeHashOf,
  parseTlogProof,
  signNote,
  type Trust,
  VERSION_ANCHOR_CODE_HASHES,
  verifyBundle,
} from '../../../src/provenance/index.ts';
import { type Anvil, startAnvil } from '../../harness/chain.ts';
import { createScene, newSigner, ORIGIN, proveLeaf, type Scene, versionAt } from './fixture.ts';
import { flips } from './flips.ts';

let anvil: Anvil;
let scene: Scene;

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  scene = await createScene(anvil);
});
afterAll(() => anvil?.close());

/** Why a bundle is refused; fails when it is not. */
function reasonOf(given: unknown, trust?: Trust): string {
  const verdict = verifyBundle(given, trust);
  if (verdict.kind === 'valid') throw new Error('the bundle was taken');
  expect(verdict.reason).toMatch(/^\S.{5,}/);
  expect(verdict.reason).not.toMatch(/undefined|\bat .*\.ts:|\[object/);
  return verdict.reason;
}

/** The bundle with other members, signed by the log again: what a dishonest log could hand out. */
function resign(change: Partial<Bundle>): Bundle {
  const bundle = { ...scene.bundle, ...change };
  return { ...bundle, signature: signNote(bundleNoteText(bundle), [scene.signer]) };
}

type BundleAnchor = NonNullable<Bundle['anchor']>;
const anchorOf = ({ anchor }: Bundle): BundleAnchor => anchor ?? expect.fail('no anchor');
const growthOf = ({ appendOnly }: Bundle) => appendOnly ?? expect.fail('no proof of growth');

describe('a bundle', () => {
  test('verifies offline: leaf, log, witness, manifest, state of the chain, and growth to the newest anchor', () => {
    const { bundle, signer, witness, chain } = scene;
    const verdict = verifyBundle(JSON.parse(JSON.stringify(bundle)), {
      ...{ vkeys: [signer.vkey], witnesses: [witness.vkey], codeSha256: versionAt(4).sha256 },
      contracts: [{ chainId: anvil.chainId, address: chain.contract.toUpperCase().replace('0X', '0x') }],
      blockHashes: [anchorOf(bundle).blockHash, growthOf(bundle).anchor.blockHash],
      version: { tool: 'acme/text-stats', version: '1.0.4' },
      now: new Date(),
    });
    if (verdict.kind === 'invalid') throw new Error(verdict.reason);
    const text = verdict.checked.join('\n');
    for (const said of [
      'acme published acme/text-stats 1.0.4',
      'number 4',
      'merkletreejs',
      'witness.example',
    ]) {
      expect(text).toContain(said);
    }
    for (const said of ['manifest', 'only grew from 7 to 12', 'anchor 0', 'VersionAnchor', 'code at hand']) {
      expect(text).toContain(said);
    }
    expect(verdict.trusted.join('\n')).not.toContain('as the bundle');
    expect(verdict.trusted.join('\n')).toContain('which you gave');
  });

  test('that is checked against nothing from elsewhere says on whose word it stands', () => {
    const verdict = verifyBundle(scene.bundle);
    if (verdict.kind === 'invalid') throw new Error(verdict.reason);
    const trusted = verdict.trusted.join('\n');
    expect(trusted).toContain(`The log's key, as the bundle names it: ${scene.signer.vkey}`);
    expect(trusted).toContain("is the log's, as the bundle names it");
    expect(trusted).toContain('is part of chain 84532 for good, as the bundle says');
    expect(verdict.notChecked.join('\n')).toContain('give it with --code');
    expect(verdict.notChecked.join('\n')).toContain('taken back later');
  });

  test('without an anchor or a witness says that no chain and nobody else saw the log', async () => {
    const anchors = { findCovering: async () => [], findLatest: async () => undefined };
    const bundle = await proveLeaf({ ...scene.deps, anchors, witnesses: [] }, 4);
    const verdict = verifyBundle(bundle);
    if (verdict.kind === 'invalid') throw new Error(verdict.reason);
    expect(verdict.notChecked.join('\n')).toContain('no anchor');
    expect(verdict.notChecked.join('\n')).toContain('no witness');
    expect(reasonOf(bundle, { contracts: [] })).toContain('names no anchor');
    expect(reasonOf(bundle, { witnesses: [newSigner('other.example', 4).vkey] })).toContain('did not cosign');
  });

  test('is made for every leaf, the newest anchored one too, and not before a checkpoint holds it', async () => {
    for (let index = 0; index < 12; index += 1) {
      const bundle = await proveLeaf(scene.deps, index);
      expect(bundle.appendOnly === null).toBe(index >= 7);
      expect(verifyBundle(bundle)).toMatchObject({ kind: 'valid', leaf: { version: `1.0.${index}` } });
    }
    expect(await makeBundle(scene.deps, { leafIndex: 12, manifest: null })).toEqual({ kind: 'absent' });
    const unsigned = {
      ...scene.versionLog,
      sign: async () => undefined,
      findCheckpoint: async () => undefined,
    };
    const made = await makeBundle({ ...scene.deps, versionLog: unsigned }, { leafIndex: 4, manifest: null });
    expect(made).toEqual({ kind: 'unsigned' });
  });

  test('of a log whose key was replaced is signed by the new key, whatever key signed the checkpoint', async () => {
    const signer = newSigner(ORIGIN);
    const bundle = await proveLeaf({ ...scene.deps, signer }, 4);
    expect(verifyBundle(bundle, { vkeys: [signer.vkey] })).toMatchObject({ kind: 'valid' });
    expect(reasonOf(bundle, { vkeys: [scene.signer.vkey] })).toContain('not among the keys which you gave');
  });

  test('whose anchor a lying node described is handed out without it, and the fault is told', async () => {
    const [first] = await scene.deps.anchors.findCovering({ log: 'versions', leafIndex: 4 });
    if (!first?.evidence) throw new Error('no anchor');
    const header = Buffer.from(first.evidence.header);
    header.writeUInt8(header.readUInt8(200) ^ 1, 200);
    const anchors = {
      ...scene.deps.anchors,
      findCovering: async () => [{ ...first, evidence: { ...first.evidence, header } } as typeof first],
    };
    const made = await makeBundle(
      { ...scene.deps, anchors },
      { leafIndex: 4, manifest: versionAt(4).manifest },
    );
    expect(made).toMatchObject({
      kind: 'made',
      bundle: { anchor: null },
      anchorFault: expect.stringMatching(/header/),
    });
  });
});

describe('tampering', () => {
  test('with any value of a bundle is found, each with a reason in words', () => {
    let tried = 0;
    for (const { path, given } of flips(scene.bundle)) {
      tried += 1;
      const verdict = verifyBundle(given);
      if (verdict.kind === 'valid') throw new Error(`the change of ${path} went unnoticed`);
      expect(verdict.reason, path).toMatch(/^\S.{5,}/);
      expect(verdict.reason, path).not.toContain('could not be read to its end');
    }
    expect(tried).toBeGreaterThan(500);
  });

  test('is found by the proofs themselves, where a dishonest log signs what it changed', () => {
    const { bundle } = scene;
    const allowed = new Set(['anchor.txHash', 'appendOnly.anchor.txHash']);
    let tried = 0;
    for (const { path, place, given } of flips(bundle)) {
      // What the log says of itself is its own to say: which key, which witnesses to name, which transaction.
      if (place.startsWith('log.') || place === 'signature' || allowed.has(place)) continue;
      if (path.startsWith('remove manifest') || path.startsWith('null ')) continue;
      const changed = given as Bundle;
      let signed: Bundle;
      try {
        signed = { ...changed, signature: signNote(bundleNoteText(changed), [scene.signer]) };
      } catch {
        // What has no canonical JSON cannot be signed either.
        continue;
      }
      const verdict = verifyBundle(signed);
      tried += 1;
      if (verdict.kind === 'valid') throw new Error(`${path} went unnoticed`);
    }
    expect(tried).toBeGreaterThan(500);
  });

  test('with what was pinned is found', () => {
    const { bundle, chain } = scene;
    const { blockHash } = anchorOf(bundle);
    expect(reasonOf(bundle, { vkeys: [newSigner(ORIGIN).vkey] })).toContain('not among the keys');
    expect(reasonOf(bundle, { codeSha256: '0'.repeat(64) })).toContain('the code at hand has SHA-256 0000');
    const other = [{ chainId: 1, address: chain.contract }];
    expect(reasonOf(bundle, { contracts: other })).toContain('not a contract that you gave');
    expect(reasonOf(bundle, { blockHashes: [blockHash.replace(/.$/, 'z')] })).toContain(
      'not a block that you gave',
    );
    const version = { tool: 'acme/text-stats', version: '9.9.9' };
    expect(reasonOf(bundle, { version })).toContain('does not publish acme/text-stats 9.9.9');
    expect(reasonOf(bundle, { now: new Date(0) })).toContain('to come');
  });

  test('by proofs that are cut off, padded, or for another size or leaf is found', () => {
    const { bundle } = scene;
    const { index, path, checkpoint } = parseTlogProof(bundle.tlogProof);
    const prove = (change: Partial<ReturnType<typeof parseTlogProof>>) =>
      reasonOf(resign({ tlogProof: encodeTlogProof({ index, path, checkpoint, ...change }) }));
    expect(prove({ path: path.slice(1) })).toContain('does not lead');
    expect(prove({ path: path.slice(0, -1) })).toContain('does not lead');
    expect(prove({ path: [] })).toContain('does not lead');
    expect(prove({ path: [...path, leafHashOf('')] })).toContain('does not lead');
    expect(prove({ path: Array.from({ length: 64 }, () => leafHashOf('')) })).toContain('does not lead');
    expect(prove({ path: Array.from({ length: 65 }, () => leafHashOf('')) })).toContain('64');
    expect(prove({ index: 5 })).toContain('another leaf index');
    expect(
      reasonOf(resign({ leafIndex: 7, tlogProof: bundle.tlogProof.replace('index 4', 'index 7') })),
    ).toContain('not in a tree of 7');
    const growth = growthOf(bundle);
    const grow = (change: object) => reasonOf(resign({ appendOnly: { ...growth, ...change } }));
    expect(grow({ proof: growth.proof.slice(1) })).toContain('not proven to begin');
    expect(grow({ proof: [...growth.proof, '00'.repeat(32)] })).toContain('not proven to begin');
    expect(grow({ proof: [] })).toContain('not proven to begin');
    expect(grow({ to: 11 })).toContain('between other trees');
    expect(grow({ from: 6 })).toContain('between other trees');
  });

  test('by a proof of the same leaf in another tree of the log is found', async () => {
    const anchors = { findCovering: async () => [], findLatest: async () => undefined };
    const later = await proveLeaf({ ...scene.deps, anchors }, 4);
    expect(parseTlogProof(later.tlogProof).checkpoint).toContain('\n12\n');
    expect(reasonOf(resign({ tlogProof: later.tlogProof }))).toContain('another tree than the checkpoint');
  });

  test('by an inner node offered as a leaf is found, also where merkletreejs alone would take it', () => {
    const { bundle } = scene;
    const { path, checkpoint } = parseTlogProof(bundle.tlogProof);
    const leaf = leafHashOf(versionAt(4).entry);
    const sibling = path[0] ?? leaf;
    // The bytes whose leaf hash would have to be the node's: prefixes keep the two apart, whatever the index.
    const entry = Buffer.concat([leaf, sibling]).toString('latin1');
    for (const index of [0, 1, 2, 4]) {
      const tlogProof = encodeTlogProof({ index, path: path.slice(1), checkpoint });
      expect(reasonOf(resign({ entry, leafIndex: index, tlogProof }))).toContain(
        'not spelled as the log spells',
      );
    }
    expect(nodeHashOf(leaf, sibling)).not.toEqual(leafHashOf(Buffer.concat([leaf, sibling])));
  });

  test('by the state of another contract, another anchor or another block is found', () => {
    const { bundle } = scene;
    const [anchor, latest] = [anchorOf(bundle), growthOf(bundle).anchor];
    const place = (change: Partial<BundleAnchor>) =>
      reasonOf(resign({ appendOnly: null, anchor: { ...anchor, ...change } }));
    expect(place({ contract: anvil.token.toLowerCase() })).toMatch(/proof of the contract/);
    expect(place({ anchorIndex: 1 })).toContain('other slots');
    expect(place({ proof: latest.proof })).toMatch(/not the one that its parent names/);
    expect(place({ header: latest.header })).toContain('not that of the block');
    expect(place({ header: latest.header, blockHash: latest.blockHash })).toContain('another number');
    const { header, blockHash, blockNumber } = latest;
    expect(place({ header, blockHash, blockNumber })).toMatch(/not the one that its parent names/);
    const root = latest.root;
    expect(place({ root })).toContain('another tree');
    const [rootSlot, factSlot] = anchor.proof.storage;
    if (!rootSlot || !factSlot) throw new Error('no slots');
    const swapped = { ...anchor.proof, storage: [factSlot, rootSlot] };
    expect(place({ proof: swapped })).toContain('other slots');
    const cut = { ...anchor.proof, account: anchor.proof.account.slice(0, -1) };
    expect(place({ proof: cut })).toContain('ends before');
    const padded = { ...anchor.proof, account: [...anchor.proof.account, '0xc0'] };
    expect(place({ proof: padded })).toContain('nothing leads to');
  });

  test('by code that is not VersionAnchor is found: its state would be whatever it likes', async () => {
    // The token stands where the contract is said to be: its account is proven, and its code is another.
    const { bundle } = scene;
    const anchor = anchorOf(bundle);
    const contract = anvil.token.toLowerCase();
    const block = `0x${anchor.blockNumber.toString(16)}`;
    const answer = (await anvil.rpc('eth_getProof', [contract, [], block])) as { accountProof: string[] };
    const proof = { ...anchor.proof, account: answer.accountProof };
    const reason = reasonOf(resign({ appendOnly: null, anchor: { ...anchor, contract, proof } }));
    expect(reason).toContain('not VersionAnchor');
  });
});

test('the code hash that verifiers know is the one that the gateway deploys', () => {
  expect(VERSION_ANCHOR_CODE_HASHES).toContain(VERSION_ANCHOR_CODE_HASH);
});
