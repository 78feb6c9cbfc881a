import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { writeArchive } from '../../../core/archive.ts';
import { sha256Hex } from '../../../core/bytes.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Layer } from '../../backend.ts';
import { orAbort } from './abort.ts';
import { layerPath } from './container-options.ts';
import { cleanupLimit, type Engine, readTime, requestLimit, statusOf } from './engine.ts';
import { removeContainer } from './jail.ts';
import { OWNER_LABEL } from './labels.ts';
import { makeExecutable } from './layer-archive.ts';

/** Layers of dependencies as volumes of one engine, each filled once and named by its content. */
export type Layers = {
  /** The volume's name; it may still be empty. */
  nameOf(layer: Layer): string;
  /** Whether the volume that is mounted in this container is whole. */
  isWhole(container: Docker.Container, layer: Layer): Promise<boolean>;
  /** Fills the volume, or waits for whoever does. */
  fill(layer: Layer, signal: AbortSignal): Promise<void>;
};

export type LayersDeps = {
  engine: Engine;
  ownerId: string;
  /** Any image: its containers are never started. */
  imageId: string;
  /** Names of containers that no sweep may take away. */
  inUse: Set<string>;
};

/** A file beside the layer's own that is written last. */
const WHOLE = '.millicent-whole';
const SHA256 = /^[0-9a-f]{64}$/;
const FILL_TIMEOUT_MS = 60_000;
/** A filler that takes longer than it may is dead. */
const ABANDONED_MS = 2 * FILL_TIMEOUT_MS;
const POLL_MS = 100;
const CONFLICT = 409;

export function createLayers(deps: LayersDeps): Layers {
  const filling = new Map<string, Promise<void>>();
  return {
    nameOf,
    isWhole: (container, layer) => hasMark(container, `${layerPath(layer.sha256)}/${WHOLE}`),
    fill(layer, signal) {
      const running =
        filling.get(layer.sha256) ?? fillOnce(deps, layer).finally(() => filling.delete(layer.sha256));
      filling.set(layer.sha256, running);
      return orAbort(running, signal);
    },
  };
}

function nameOf({ sha256 }: Layer): string {
  invariant(SHA256.test(sha256), `a layer is named ${sha256}`);
  return `millicent-layer-${sha256}`;
}

/** The name of the container that fills a volume is the lock: an engine gives a name to one container only. */
async function fillOnce({ engine, ownerId, imageId, inUse }: LayersDeps, layer: Layer): Promise<void> {
  const { docker } = engine;
  const name = nameOf(layer);
  const limit = cleanupLimit(FILL_TIMEOUT_MS);
  inUse.add(name);
  try {
    for (;;) {
      const helper = await createHelper(docker, { name, ownerId, imageId, signal: limit });
      if (helper === undefined) {
        await removeAbandoned(docker, name);
        await sleep(POLL_MS, undefined, { signal: limit });
        continue;
      }
      return await fillThrough(helper, layer, limit).finally(() => removeContainer(helper));
    }
  } finally {
    inUse.delete(name);
  }
}

async function fillThrough(helper: Docker.Container, layer: Layer, limit: AbortSignal): Promise<void> {
  if (await hasMark(helper, `${PLACE}/${WHOLE}`)) return;
  const archive = Buffer.from(await layer.read());
  invariant(sha256Hex(archive) === layer.sha256, `the stored layer ${layer.sha256} has changed`);
  await helper.putArchive(makeExecutable(archive), { path: PLACE, abortSignal: limit });
  await helper.putArchive(MARK, { path: PLACE, abortSignal: limit });
}

const PLACE = '/layer';
const MARK = writeArchive(new Map([[WHOLE, new Uint8Array()]]));

type Helper = { name: string; ownerId: string; imageId: string; signal: AbortSignal };

/** Undefined when another one has the name. */
async function createHelper(docker: Docker, helper: Helper): Promise<Docker.Container | undefined> {
  const { name, ownerId, imageId, signal } = helper;
  try {
    await docker.createVolume({
      Name: name,
      Labels: { 'millicent.layer': name },
      abortSignal: requestLimit(signal),
    });
    return await docker.createContainer({
      name,
      Image: imageId,
      Labels: { [OWNER_LABEL]: ownerId },
      NetworkDisabled: true,
      HostConfig: {
        NetworkMode: 'none',
        LogConfig: { Type: 'none', Config: {} },
        Mounts: [{ Type: 'volume', Source: name, Target: PLACE }],
      },
      abortSignal: requestLimit(signal),
    });
  } catch (error) {
    if (statusOf(error) === CONFLICT) return undefined;
    throw error;
  }
}

async function removeAbandoned(docker: Docker, name: string): Promise<void> {
  const container = docker.getContainer(name);
  try {
    const [{ Created: createdAt }, now] = await Promise.all([
      container.inspect({ abortSignal: cleanupLimit() }),
      readTime({ docker }, cleanupLimit()),
    ]);
    if (now - Date.parse(createdAt) > ABANDONED_MS) await removeContainer(container);
  } catch (error) {
    // It is gone already, so that the name is free.
    if (statusOf(error) !== 404) throw error;
  }
}

async function hasMark(container: Docker.Container, path: string): Promise<boolean> {
  try {
    const answer = await container.infoArchive({ path, abortSignal: cleanupLimit() });
    answer.resume();
    return true;
  } catch (error) {
    if (statusOf(error) === 404) return false;
    throw error;
  }
}
