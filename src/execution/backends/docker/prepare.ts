import type { Jail, JailSpec } from '../../backend.ts';
import { LIMIT_FLOORS } from '../../limits.ts';
import { type EngineFacts, judgeEngine } from './engine-check.ts';
import type { HostDeps } from './host.ts';
import { type Images, prepareImages } from './images.ts';
import { LEASE_LABEL } from './labels.ts';
import { createLayers, type Layers } from './layers.ts';
import type { Order } from './open-jail.ts';
import { judgeJails, judgeNode } from './trial.ts';

/** An engine on which jails can be started. */
export type Prepared = {
  facts: EngineFacts;
  images: Images;
  layers: Layers;
  /** Shows every gateway that this one lives, as long as it does. */
  lease: Jail;
};

export type PrepareInput = HostDeps & {
  /** Names of containers that no sweep may take away. */
  inUse: Set<string>;
  open(prepared: Pick<Prepared, 'images' | 'layers'>, order: Order, signal: AbortSignal): Promise<Jail>;
  onLeaseEnd(lease: Jail): void;
};

export type PrepareOutcome = { kind: 'prepared'; prepared: Prepared } | { kind: 'unfit'; why: string };

const LEASE_SPEC: JailSpec = { runtime: 'python', limits: LIMIT_FLOORS };

/**
 * Makes an engine ready: asks what it can do, brings it the roots, takes a lease, and believes only what trial jails
 * report. Throws when the engine fails meanwhile.
 */
export async function prepareHost(input: PrepareInput): Promise<PrepareOutcome> {
  const { engine, ownerId, runtime, closing, inUse, open, log } = input;
  const judgement = await judgeEngine(engine, runtime, closing);
  if (judgement.kind === 'unfit') return judgement;
  const images = await prepareImages(input, closing);
  const python = images.current.get('python');
  if (python === undefined) return { kind: 'unfit', why: 'there is no root file system for Python.' };
  const layers = createLayers({ engine, ownerId, imageId: python.id, inUse });
  const parts = { images, layers };
  const lease = await open(parts, { spec: LEASE_SPEC, labels: { [LEASE_LABEL]: ownerId } }, closing);
  try {
    lease.stdout.resume();
    lease.stderr.resume();
    const { facts } = judgement;
    const trial = {
      ...{ runtime, facts },
      start: (spec: JailSpec) => open(parts, { spec, labels: {} }, closing),
    };
    const why = await judgeJails(trial);
    if (why !== undefined) {
      await lease.kill('done');
      return { kind: 'unfit', why };
    }
    if (images.current.has('node')) {
      const fault = await judgeNode(trial);
      if (fault !== undefined) images.withdraw('node');
      if (fault !== undefined)
        log.warn({ why: fault, engine: engine.name }, 'hosted tools in Node cannot be run there');
    }
    void lease.exit.then(() => input.onLeaseEnd(lease));
    return { kind: 'prepared', prepared: { facts, ...parts, lease } };
  } catch (error) {
    await lease.kill('done').catch(() => undefined);
    throw error;
  }
}
