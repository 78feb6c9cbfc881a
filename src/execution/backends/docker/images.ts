import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import type { Log } from '../../../core/log.ts';
import type { BuiltRoot, RootKind, RootPlan, RootStart } from '../../policy/roots/build-root.ts';
import { type Engine, requestLimit } from './engine.ts';
import type { RootArchives } from './root-archives.ts';

/** A root file system as an image of one engine. */
export type RootImage = RootStart & { id: string; sha256: string };

/** The images that jails of one engine can be started from. */
export type Images = {
  /** The one that a version was published on when it is still there, else this machine's own. */
  choose(kind: RootKind, sha256: string | undefined): RootImage | undefined;
  current: ReadonlyMap<RootKind, RootImage>;
  /** From now on that runtime is not offered. */
  withdraw(kind: RootKind): void;
};

export type ImagesInput = { engine: Engine; archives: RootArchives; log: Log };

/** Brings the roots of this machine's interpreters to an engine that lacks them. */
export async function prepareImages(input: ImagesInput, signal: AbortSignal): Promise<Images> {
  const { engine, archives, log } = input;
  const plans = await archives.plan();
  let stored = await listImages(engine, signal);
  const current = new Map<RootKind, RootImage>();
  for (const plan of plans) {
    const isPlanned = (image: StoredImage) => image.recipe === plan.recipe;
    if (!stored.some(isPlanned)) {
      log.info({ engine: engine.name, kind: plan.kind }, 'bringing a root file system to an engine, once');
      await archives.use(plan, (root, archive) => importRoot(engine, { plan, root, archive }, signal));
      stored = await listImages(engine, signal);
    }
    const image = stored.find(isPlanned);
    if (image === undefined) throw new Error(`the image of ${plan.kind} is not there after its import`);
    current.set(plan.kind, image);
  }
  return {
    current,
    choose(kind, sha256) {
      const own = current.get(kind);
      if (own === undefined || sha256 === undefined) return own;
      return stored.find((image) => image.kind === kind && image.sha256 === sha256) ?? own;
    },
    withdraw: (kind) => void current.delete(kind),
  };
}

const REPOSITORY = 'millicent-root';
const LABEL = { root: 'millicent.root', recipe: 'millicent.recipe', start: 'millicent.start' } as const;
const IMPORT_TIMEOUT_MS = 120_000;

type StoredImage = RootImage & { recipe: string };

const startSchema = z.object({
  kind: z.enum(['python', 'node']),
  version: z.string(),
  command: z.array(z.string()).min(1),
  environment: z.record(z.string(), z.string()),
  prlimit: z.string(),
});

async function listImages({ docker }: Engine, signal: AbortSignal): Promise<StoredImage[]> {
  const images = await docker.listImages({
    filters: { label: [LABEL.root] },
    abortSignal: requestLimit(signal),
  });
  return images.flatMap(({ Id: id, Labels: labels }) => {
    const { [LABEL.root]: sha256, [LABEL.recipe]: recipe, [LABEL.start]: start } = labels ?? {};
    if (sha256 === undefined || recipe === undefined || start === undefined) return [];
    const parsed = startSchema.safeParse(parseLabel(start));
    return parsed.success ? [{ id, sha256, recipe, ...parsed.data }] : [];
  });
}

type Import = { plan: RootPlan; root: BuiltRoot; archive: Readable };

/** As `docker import` does it, with a configuration that starts the bootstrap. */
async function importRoot({ docker }: Engine, { plan, root, archive }: Import, signal: AbortSignal) {
  const { kind, version, command, environment, prlimit } = root;
  const labels = {
    [LABEL.root]: root.sha256,
    [LABEL.recipe]: plan.recipe,
    [LABEL.start]: spellLabel({ kind, version, command, environment, prlimit }),
  };
  const answer = await docker.importImage(archive, {
    repo: REPOSITORY,
    tag: root.sha256,
    changes: [
      ...Object.entries(labels).map(([name, value]) => `LABEL ${name}=${value}`),
      ...Object.entries(environment).map(([name, value]) => `ENV ${name}=${JSON.stringify(value)}`),
      `CMD ${JSON.stringify(command)}`,
      'USER 65534:65534',
      'WORKDIR /tmp',
    ],
    abortSignal: requestLimit(signal, IMPORT_TIMEOUT_MS),
  });
  const progress = await text(answer);
  // The status is sent before the work is done; a failure comes as a line of the body.
  if (progress.includes('"error"')) throw new Error(`the import failed: ${progress.slice(-400)}`);
}

/** Dockerfile's quoting is best given nothing to quote. */
function spellLabel(value: RootStart): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function parseLabel(label: string): unknown {
  try {
    return JSON.parse(Buffer.from(label, 'base64url').toString());
  } catch {
    return undefined;
  }
}
