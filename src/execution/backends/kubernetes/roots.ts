import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { RootKind } from '../../policy/roots/build-root.ts';

/** A root that was pushed as an image: how it is started, and its content twice, as ours and as the registry's. */
export type PushedRoot = z.infer<typeof rootSchema>;

const rootSchema = z.object({
  kind: z.enum(['python', 'node']),
  version: z.string().min(1),
  command: z.array(z.string()).min(1),
  environment: z.record(z.string(), z.string()),
  prlimit: z.string().startsWith('/'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Of the image's manifest: what is pulled is what was built, whoever moves the tag. */
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
});
const rootsSchema = z.array(rootSchema).min(1);

export type PushedRoots = {
  current: ReadonlyMap<RootKind, PushedRoot>;
  /** The one a version was published on when it was pushed, else the newest of its kind. */
  choose(kind: RootKind, sha256: string | undefined): PushedRoot | undefined;
  /** From now on that runtime is not offered. */
  withdraw(kind: RootKind): void;
};

/** Reads what `scripts/root-images.ts` wrote, the newest of each kind first. Throws in words for the operator. */
export async function readRoots(path: string): Promise<PushedRoots> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Error('KUBERNETES_ROOTS is not the path of a file that can be read.', { cause });
  });
  const parsed = rootsSchema.safeParse(parse(text));
  if (!parsed.success)
    throw new Error('KUBERNETES_ROOTS is not a list of roots as scripts/root-images.ts writes it.');
  const current = new Map<RootKind, PushedRoot>();
  for (const root of parsed.data) if (!current.has(root.kind)) current.set(root.kind, root);
  return {
    current,
    choose(kind, sha256) {
      const own = current.get(kind);
      if (own === undefined || sha256 === undefined) return own;
      return parsed.data.find((root) => root.kind === kind && root.sha256 === sha256) ?? own;
    },
    withdraw: (kind) => void current.delete(kind),
  };
}

export function imageOf(repository: string, { kind, sha256, digest }: PushedRoot): string {
  return `${repository}:${kind}-${sha256}@${digest}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
