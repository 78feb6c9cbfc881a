import { randomBytes } from 'node:crypto';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Jail, JailSpec } from '../../backend.ts';
import { rootKindOf } from '../../policy/roots/build-root.ts';
import { containerOptions, type Runtime } from './container-options.ts';
import { cleanupLimit, type Engine } from './engine.ts';
import type { Images } from './images.ts';
import { removeContainer, startJail } from './jail.ts';
import { OWNER_LABEL } from './labels.ts';
import type { Layers } from './layers.ts';

/** A jail that is wanted, and what else its container is marked with. */
export type Order = { spec: JailSpec; labels: Readonly<Record<string, string>> };

export type OpenParts = {
  engine: Engine;
  ownerId: string;
  runtime: Runtime;
  seccomp: string;
  images: Images;
  layers: Layers;
  /** Names of containers, from before they are created until nothing is left of them. */
  inUse: Set<string>;
  jails: Map<string, Jail>;
  /** Once it is aborted nothing starts any more. */
  closing: AbortSignal;
  log: Log;
  doubt(why: string): void;
  fail(error: unknown): void;
};

/** Creates the container, sees to its layer, and starts it; whatever fails, nothing of it stays. */
export async function openJail(
  parts: OpenParts,
  { spec, labels }: Order,
  signal: AbortSignal,
): Promise<Jail> {
  const { engine, ownerId, images, layers, inUse, jails, log, closing } = parts;
  closing.throwIfAborted();
  const image = images.choose(rootKindOf(spec.runtime), spec.rootSha256);
  if (image === undefined) throw notOffered(spec);
  const id = `millicent-${ownerId}-${randomBytes(8).toString('hex')}`;
  const layerVolume = spec.layer === undefined ? undefined : layers.nameOf(spec.layer);
  inUse.add(id);
  try {
    const marked = { [OWNER_LABEL]: ownerId, ...labels };
    const creation = {
      _query: { name: id },
      // Said apart: dockerode would put the body, filter and all, into the query as well.
      _body: containerOptions({ ...parts, labels: marked, image, spec, layerVolume }),
      // Not ended with the caller: an engine that is asked no more may still create it, and nobody would remove it.
      abortSignal: cleanupLimit(),
    };
    const container = await engine.docker.createContainer(creation);
    closing.throwIfAborted();
    signal.throwIfAborted();
    if (spec.layer !== undefined && !(await layers.isWhole(container, spec.layer))) {
      await layers.fill(spec.layer, signal);
    }
    const jail = await startJail(
      {
        ...{ container, id, log },
        onGone: (exit) => {
          jails.delete(id);
          inUse.delete(id);
          if (!exit.isBackendFailure) return;
          if (exit.code === null && exit.signal === null) parts.fail(new Error('it stopped answering.'));
          else parts.doubt('a jail ended before its bootstrap ran');
        },
      },
      signal,
    );
    jails.set(id, jail);
    return jail;
  } catch (error) {
    // A later sweep finds what an engine that does not answer keeps.
    await removeContainer(engine.docker.getContainer(id)).catch(() => undefined);
    inUse.delete(id);
    throw error;
  }
}

function notOffered({ runtime }: JailSpec): Problem {
  return new Problem('unavailable', {
    detail: `The sandbox runs no ${runtime === 'node' ? 'Node' : 'Python'} on this machine.`,
    retryAfterSeconds: 60,
    isUncharged: true,
  });
}
