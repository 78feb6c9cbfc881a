import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { bundleNoteText, bundleSchema } from '../../../src/provenance/bundle/bundle.ts';
import { verifyBundle } from '../../../src/provenance/index.ts';
import { signNote } from '../../../src/provenance/log/note.ts';
import { type Anvil, startAnvil } from '../../harness/chain.ts';
import { requirePython } from '../../harness/python-cryptography.ts';
import { createScene, proveLeaf, type Scene } from './fixture.ts';
import { flips } from './flips.ts';

const folder = mkdtempSync(join(tmpdir(), 'millicent-bundle-'));
let anvil: Anvil;
let scene: Scene;

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  scene = await createScene(anvil);
});
afterAll(async () => {
  await anvil?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What a verifier in another language, written from the specifications, says of each of these bundles. */
function askPython(bundles: readonly unknown[]): {
  status: number | null;
  verdicts: string[];
  stderr: string;
} {
  const paths = bundles.map((bundle, at) => {
    const path = join(folder, `bundle-${at}.json`);
    writeFileSync(path, JSON.stringify(bundle));
    return path;
  });
  const script = join(import.meta.dirname, '../../harness/independent-verifier.py');
  const { status, stdout, stderr } = spawnSync(requirePython(), [script, ...paths], { encoding: 'utf8' });
  return { status, verdicts: stdout.trimEnd().split('\n'), stderr };
}

test('a verifier in Python, written from the specifications, takes what ours takes', async () => {
  const indexes = [0, 3, 6, 7, 11];
  const bundles = await Promise.all(indexes.map((leafIndex) => proveLeaf(scene.deps, leafIndex)));
  const verdicts = bundles.map(({ leafIndex, anchor }) =>
    leafIndex < 7
      ? `ok ${leafIndex} 7 anchor 0 block ${anchor?.blockNumber} grown to 12`
      : `ok ${leafIndex} 12 anchor 1 block ${anchor?.blockNumber}`,
  );
  expect(askPython(bundles)).toEqual({ status: 0, verdicts, stderr: '' });
});

test('and it refuses what ours refuses, without a stack trace', () => {
  const some = [...flips(scene.bundle)].filter(
    ({ path }, at) => at % 5 === 0 && !/^(?:huge|overfill)/.test(path),
  );
  expect(some.length).toBeGreaterThan(100);
  const { status, verdicts, stderr } = askPython(some.map(({ given }) => given));
  expect([status, stderr, verdicts.length]).toEqual([1, '', some.length]);
  for (const [at, { path, given }] of some.entries()) {
    expect(verdicts[at], path).toMatch(/^refused: \S/);
    expect(verifyBundle(given).kind, path).toBe('invalid');
  }
});

test('and so it does when the log itself signed what was changed in an anchor', () => {
  const { bundle, signer } = scene;
  const changed = [...flips(bundle)].filter(
    ({ place, path }) => /^(?:anchor|appendOnly)(?:\.|$)/.test(place) && !/^(?:huge|overfill)/.test(path),
  );
  // No proof covers the transaction, and an empty anchor claims less than there is.
  const judged = changed.flatMap(({ place, path, given }) => {
    const parsed = bundleSchema.safeParse(given);
    const isClaim = parsed.success && parsed.data.anchor && parsed.data.appendOnly;
    if (!isClaim || place.endsWith('.txHash')) return [];
    const signature = signNote(bundleNoteText(parsed.data), [signer]);
    return [{ path, bundle: { ...parsed.data, signature } }];
  });
  const some = judged.filter((_, at) => at % 2 === 0);
  expect(some.length).toBeGreaterThan(100);
  const { status, verdicts, stderr } = askPython(some.map((one) => one.bundle));
  expect([status, stderr, verdicts.length]).toEqual([1, '', some.length]);
  for (const [at, one] of some.entries()) {
    expect(verdicts[at], one.path).toMatch(/^refused: \S/);
    expect(verifyBundle(one.bundle).kind, one.path).toBe('invalid');
  }
});
