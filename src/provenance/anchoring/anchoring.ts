import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import type { Sql } from '../../db/index.ts';
import { LogDivergedError } from '../log/divergence.ts';
import type { LogName, Logs } from '../log/transparency-log.ts';
import { describeError, type Health } from './advance.ts';
import type { Anchors, AnchorTargetStatus } from './anchor.ts';
import type { AnchorChain, AnchorContract, HeldAnchor } from './anchor-chain.ts';
import { findCovering, findLatest, listAnchors } from './store.ts';
import {
  checkContract,
  findBrokenPromise,
  findContradiction,
  pinContract,
  runTarget,
  type TargetContext,
} from './target.ts';

export type AnchoringDeps = {
  sql: Sql;
  clock: Clock;
  log: Log;
  logs: Logs;
  chains: readonly AnchorChain[];
  /** The shortest time between two anchors of a log on a chain. */
  everyMs: number;
};

export type Anchoring = {
  anchors: Anchors;
  /** One round over a chain: any number of gateways may do so at any time. Ends in the health of each target. */
  tick(chainId: number, signal: AbortSignal): Promise<void>;
  /** How each chain stood when it was last looked at: `ok`, or what is wrong. */
  health(): Record<string, string>;
};

/** As what a chain reports on a log. */
export function chainSource(chainId: number): string {
  return `chain ${chainId}`;
}

/** Puts the roots of the logs into contracts, on any number of chains. */
export function createAnchoring(deps: AnchoringDeps): Anchoring {
  const targets = deps.chains.flatMap((chain) => listTargets(deps, chain));
  return {
    anchors: {
      list: ({ log, rowsMax }) => listAnchors(deps.sql, { log, rowsMax }),
      findCovering: (input) => findCovering(deps.sql, input),
      findLatest: (input) => findLatest(deps.sql, input),
      status: () => Promise.all(targets.map((target) => describe(deps, target))),
    },
    async tick(chainId, signal) {
      const chain = deps.chains.find((one) => one.chainId === chainId);
      const ours = targets.filter(({ context }) => context.target.chainId === chainId);
      let isAnyOpen = false;
      // One after the other: they share a wallet.
      for (const target of ours) {
        const isOpen = await runRound(target, signal);
        isAnyOpen ||= isOpen;
      }
      if (isAnyOpen) await resume(deps.log, chain, signal);
    },
    health: () =>
      Object.fromEntries(
        deps.chains.map(({ chainId }) => [
          `anchor_${chainId}`,
          spellChain(targets.filter(({ context }) => context.target.chainId === chainId)),
        ]),
      ),
  };
}

async function resume(log: Log, chain: AnchorChain | undefined, signal: AbortSignal): Promise<void> {
  try {
    await chain?.resume(signal);
  } catch (cause) {
    // What is signed is stored: the next round broadcasts it.
    log.debug({ chainId: chain?.chainId, cause }, 'a wallet could not be resumed');
  }
}

/** One log in one contract, and how it was when it was last looked at. */
type Target = {
  context: TargetContext;
  health: Health;
  isOurs: boolean;
  isPinned: boolean;
  contradiction: Contradiction | undefined;
};

/** What a chain said last that the log is not, and since when it says nothing of the kind. */
type Contradiction = { detail: string; treeSize: number; soundSince: Date | undefined };

/**
 * A contract forgets nothing, so a chain that shows less than it did was asked through another node, or through one
 * that lied then or lies now. Which of them is not known: it is believed once none has shown it for this long.
 */
const WITHDRAWN_AFTER_MS = 600_000;

function listTargets(deps: AnchoringDeps, chain: AnchorChain): Target[] {
  const { sql, clock, log, logs, everyMs } = deps;
  const toTarget = (name: LogName, contract: AnchorContract | undefined): Target[] => {
    if (!contract) return [];
    const target = { log: name, chainId: chain.chainId, contract: contract.address };
    const context = {
      ...{ sql, clock, log, everyMs, target, contract, source: logs[name], versions: logs.versions },
    };
    const health: Health = { kind: 'waiting', detail: 'it was not looked at yet' };
    return [{ context, health, isOurs: false, isPinned: false, contradiction: undefined }];
  };
  return [
    ...toTarget('versions', chain.contracts.versions),
    ...toTarget('receipts', chain.contracts.receipts),
  ];
}

/** A round never fails: what is wrong is the target's health, and the next round tries again. */
async function runRound(target: Target, signal: AbortSignal): Promise<boolean> {
  const { context } = target;
  try {
    if (!target.isOurs) await checkContract(context, signal);
    target.isOurs = true;
    const latest = await context.contract.readLatest(signal);
    const suspicion = await look(target, latest);
    if (suspicion) {
      noteHealth(target, suspicion);
      return false;
    }
    if (!target.isPinned) await pinContract(context);
    target.isPinned = true;
    const { health, isOpen } = await runTarget(context, latest, signal);
    noteHealth(target, health);
    return isOpen;
  } catch (cause) {
    if (cause instanceof LogDivergedError) {
      noteHealth(target, { kind: 'diverged', detail: cause.divergence });
      return false;
    }
    // A log that is known to have diverged does not become sound because its chain is down.
    if (target.health.kind !== 'diverged')
      noteHealth(target, { kind: 'waiting', detail: describeError(cause) });
    context.log.debug({ ...context.target, cause }, 'a round of anchoring failed');
    return false;
  }
}

/** Holds the log against what the chain has; answers why nothing may be anchored, if so. */
async function look(target: Target, latest: HeldAnchor | undefined): Promise<Health | undefined> {
  const { context } = target;
  const { source, clock } = context;
  const chain = chainSource(context.target.chainId);
  const detail = await findContradiction(context, latest);
  if (detail !== undefined) {
    target.contradiction = { detail, treeSize: latest?.treeSize ?? 0, soundSince: undefined };
    source.reportDivergence({ source: chain, detail });
  } else if (isWithdrawn(target, latest, clock.now())) {
    target.contradiction = undefined;
    source.reportSound(chain);
  }
  const known = source.health();
  if (target.contradiction) return { kind: 'diverged', detail: target.contradiction.detail };
  // What another chain contradicts, or the log itself, is not told to this one.
  if (known.kind === 'diverged') return known;
  const broken = await findBrokenPromise(context);
  return broken === undefined ? undefined : { kind: 'diverged', detail: broken };
}

/** The chain was found to go with the log: whether that settles what it said before. */
function isWithdrawn({ contradiction }: Target, latest: HeldAnchor | undefined, now: Date): boolean {
  if (!contradiction || (latest?.treeSize ?? 0) >= contradiction.treeSize) return true;
  const soundSince = contradiction.soundSince ?? now;
  // A clock that is put back begins anew.
  contradiction.soundSince = soundSince > now ? now : soundSince;
  return now.getTime() - soundSince.getTime() >= WITHDRAWN_AFTER_MS;
}

/** Keeps it, and tells of each change once. */
function noteHealth(target: Target, health: Health): void {
  const former = target.health;
  target.health = health;
  if (spell(former) === spell(health)) return;
  const { log, target: fields } = target.context;
  if (health.kind === 'diverged') {
    log.error(
      { ...fields, detail: health.detail },
      'a log is not what was anchored: nothing more is anchored',
    );
    return;
  }
  if (former.kind === 'diverged') log.warn(fields, 'a log is again what was anchored');
  if (health.kind === 'waiting') log.info({ ...fields, detail: health.detail }, 'anchoring waits');
}

function spell(health: Health): string {
  return health.kind === 'ok' ? health.kind : `${health.kind} ${health.detail}`;
}

function spellChain(targets: readonly Target[]): string {
  const wrong = targets.flatMap(({ context, health }) => {
    if (health.kind === 'ok') return [];
    const word = health.kind === 'diverged' ? 'DIVERGED: ' : '';
    return [`${context.target.log}: ${word}${health.detail}`];
  });
  return wrong.length === 0 ? 'ok' : wrong.join('; ');
}

async function describe(deps: AnchoringDeps, { context, health }: Target): Promise<AnchorTargetStatus> {
  const anchor = await findLatest(deps.sql, context.target);
  const { mined } = anchor ?? {};
  return {
    ...{ ...context.target, health, anchoredSize: anchor?.treeSize ?? 0 },
    anchoredAt: mined && new Date(mined.blockTime * 1_000),
  };
}
