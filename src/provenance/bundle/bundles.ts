import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { type BundleDeps, type BundleInput, type MadeBundle, makeBundle } from './make.ts';

/** The proof bundles of one installation. */
export type Bundles = { prove(input: BundleInput): Promise<MadeBundle> };

/** Anybody may ask for any leaf, and a bundle is a dozen queries and three signatures. */
const KEPT_MS = 5_000;
const KEPT_MAX = 500;

type Kept = { madeAtMs: number; bundle: Promise<MadeBundle> };

export function createBundles(deps: BundleDeps & { clock: Clock; log: Log }): Bundles {
  const kept = new Map<number, Kept>();

  async function make(input: BundleInput): Promise<MadeBundle> {
    const made = await makeBundle(deps, input);
    if (made.kind === 'made' && made.anchorFault !== undefined) {
      const { leafIndex } = input;
      deps.log.warn(
        { leafIndex, fault: made.anchorFault },
        'an anchor proves nothing and was left out of a bundle',
      );
    }
    return made;
  }

  return {
    prove(input) {
      const nowMs = deps.clock.now().getTime();
      const known = kept.get(input.leafIndex);
      if (known && nowMs - known.madeAtMs < KEPT_MS) return known.bundle;
      const bundle = make(input);
      kept.delete(input.leafIndex);
      kept.set(input.leafIndex, { madeAtMs: nowMs, bundle });
      const forget = () => {
        if (kept.get(input.leafIndex)?.bundle === bundle) kept.delete(input.leafIndex);
      };
      // Only a bundle is kept: whoever was too early, or met a fault, is not told so again.
      bundle.then(({ kind }) => kind === 'made' || forget(), forget);
      const [oldest] = kept.keys();
      if (kept.size > KEPT_MAX && oldest !== undefined) kept.delete(oldest);
      return bundle;
    },
  };
}
