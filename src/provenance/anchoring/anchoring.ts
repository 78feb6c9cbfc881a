import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import type { Sql } from '../../db/index.ts';
import { LogDivergedError } from '../log/divergence.ts';
import type { LogName, Logs } from '../log/transparency-log.ts';
import { describeError, type Health } from './advance.ts';
import type { Anchors, AnchorTargetStatus } from './anchor.ts';
import type { AnchorChain, AnchorContract } from './anchor-chain.ts';
import { findCovering, findLatest, listAnchors } from './store.ts';
import { findDivergence, pinContract, runTarget, type TargetContext } from './target.ts';

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
type Target = { context: TargetContext; health: Health; isPinned: boolean };

function listTargets(deps: AnchoringDeps, chain: AnchorChain): Target[] {
  const { sql, clock, log, logs, everyMs } = deps;
  const toTarget = (name: LogName, contract: AnchorContract | undefined): Target[] => {
    if (!contract) return [];
    const target = { log: name, chainId: chain.chainId, contract: contract.address };
    const context = {
      ...{ sql, clock, log, everyMs, target, contract, source: logs[name], versions: logs.versions },
    };
    return [{ context, isPinned: false, health: { kind: 'waiting', detail: 'it was not looked at yet' } }];
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
    if (!target.isPinned) {
      await pinContract(context, signal);
      target.isPinned = true;
    }
    const latest = await context.contract.readLatest(signal);
    const detail = await findDivergence(context, latest);
    if (detail !== undefined) {
      noteHealth(target, { kind: 'diverged', detail });
      return false;
    }
    // What another chain contradicts, or the log itself, is not told to this one.
    const known = context.source.health();
    if (known.kind === 'diverged') {
      noteHealth(target, known);
      return false;
    }
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

/** Keeps it, and tells of each change once. */
function noteHealth(target: Target, health: Health): void {
  const former = target.health;
  target.health = health;
  if (spell(former) === spell(health)) return;
  const { log, source, target: fields } = target.context;
  if (health.kind === 'diverged') {
    log.error(
      { ...fields, detail: health.detail },
      'a log is not what was anchored: nothing more is anchored',
    );
    source.reportDivergence(health.detail);
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
