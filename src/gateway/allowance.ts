import { newUuid, type Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { type Queryable, type Tx, withTransaction } from '../db/index.ts';
import type { Outcome } from '../execution/index.ts';
import {
  DEFAULT_TIERS,
  type FreeCall,
  type FreeCallToTake,
  type FreeCounter,
  giveBackFreeCall,
  keepFreeCall,
  mayHaveFreeCall,
  type Principal,
  type Tier,
  takeFreeCall,
  tierOf,
} from '../keys/index.ts';
import type { GatewayDeps } from './deps.ts';
import { noteFailure, refuseIfBlocked, toProblem } from './failure.ts';
import { runSale } from './run-sale.ts';
import { freeTerms, type Sale } from './sale.ts';

/** Longer than any run with its queue takes: see `toHoldRequest`. */
const LEASE_SLACK_MS = 60_000;

/** A delivered call that an allowance, or a tool's price, made free. */
export type FreeAnswer = { result: unknown; freeCallsLeft: number | undefined };

/**
 * The call under a free allowance of its tool; undefined when there is none left, and it is paid as ever.
 * Counted before it runs, by account, and given back when it does not deliver.
 */
export async function callUnderAllowance(
  deps: GatewayDeps,
  sale: Sale,
  principal: Principal,
): Promise<FreeAnswer | undefined> {
  if (!hasAllowance(sale)) return undefined;
  const payer = `account:${principal.accountId}`;
  refuseIfBlocked(deps, sale, payer);
  const wanted = await toAllowanceCall(deps, deps.sql, { sale, principal, id: newUuid() });
  if (!(await mayHaveFreeCall(deps.sql, wanted))) return undefined;
  const call = await withTransaction(deps.sql, (tx) => takeFreeCall(tx, wanted));
  return call && runTaken(deps, sale, { call, payer });
}

/** A tool that costs nothing, run for a key whose tier may limit even that. */
export async function callFreeTool(
  deps: GatewayDeps,
  sale: Sale,
  { principal, address }: { principal: Principal | undefined; address: string | undefined },
): Promise<FreeAnswer> {
  const tier = principal && (await tierOfKey(deps, principal));
  const max = tier?.freeToolCallsPerDay;
  if (!principal || max === undefined) {
    const payer = principal && `account:${principal.accountId}`;
    const run = () => runSale(deps, sale, freeTerms(payer));
    const outcome = await placesFor(deps, sale).run(run, payer ?? address);
    if (outcome.kind === 'delivered') return { result: outcome.result, freeCallsLeft: undefined };
    const { problem, detail } = toProblem(outcome);
    throw new Problem(problem, { detail, isUncharged: true });
  }
  const quota: FreeCounter = { name: 'free-tools', period: 'day', max };
  const { accountId } = principal;
  const wanted = { id: newUuid(), accountId, choices: [], quota, leaseMs: leaseOf(sale) };
  const call = await withTransaction(deps.sql, (tx) => takeFreeCall(tx, wanted));
  if (call) return runTaken(deps, sale, { call, payer: `account:${accountId}` });
  throw new Problem('too-many-requests', {
    detail: `An account of the tier "${tier?.name}" calls free tools ${max} times a day.`,
    retryAfterSeconds: secondsToMidnight(deps.clock.now()),
    isUncharged: true,
  });
}

/** Takes a free call in a transaction that does more, for a claim of this id. */
export async function takeAllowance(
  deps: GatewayDeps,
  tx: Tx,
  input: { sale: Sale; principal: Principal; id: Uuid },
): Promise<FreeCall | undefined> {
  if (!hasAllowance(input.sale)) return undefined;
  return takeFreeCall(tx, await toAllowanceCall(deps, tx, input));
}

/** Runs what nobody pays for in its own share of the sandbox; having no place there is a failure like others. */
export async function runLimited(deps: GatewayDeps, sale: Sale, payer: string): Promise<Ran> {
  try {
    return await placesFor(deps, sale).run(() => runSale(deps, sale, freeTerms(payer)), payer);
  } catch (cause) {
    return { kind: 'failed', cause };
  }
}

/** A slow server of a publisher's own must not keep the sandbox's places from others. */
function placesFor(deps: Pick<GatewayDeps, 'freeCalls' | 'freeEndpointCalls'>, { tier }: Sale) {
  return tier === 'self-hosted' ? deps.freeEndpointCalls : deps.freeCalls;
}

type Ran = Outcome | { kind: 'failed'; cause: unknown };

export function returnFreeCall(deps: Pick<GatewayDeps, 'sql'>, call: FreeCall): Promise<void> {
  return withTransaction(deps.sql, (tx) => giveBackFreeCall(tx, call));
}

async function runTaken(
  deps: GatewayDeps,
  sale: Sale,
  { call, payer }: { call: FreeCall; payer: string },
): Promise<FreeAnswer> {
  const outcome = await runLimited(deps, sale, payer);
  if (outcome.kind === 'delivered') {
    await withTransaction(deps.sql, (tx) => keepFreeCall(tx, call));
    return { result: outcome.result, freeCallsLeft: call.left };
  }
  await returnFreeCall(deps, call);
  // A refusal of ours, such as a full queue, keeps its own words and its Retry-After.
  if ('cause' in outcome && outcome.cause instanceof Problem) throw outcome.cause;
  const failure = toProblem(outcome);
  await noteFailure(deps, sale, payer, failure);
  throw new Problem(failure.problem, { detail: failure.detail, isUncharged: true });
}

/** Whether an account may have calls of it for nothing. */
export function hasAllowance({ price, freeAllowance }: Sale): boolean {
  return price > 0n && freeAllowance !== undefined;
}

async function toAllowanceCall(
  deps: GatewayDeps,
  queryable: Queryable,
  input: { sale: Sale; principal: Principal; id: Uuid },
): Promise<FreeCallToTake> {
  const { sale, principal, id } = input;
  const { first = 0, perDay = 0 } = sale.freeAllowance ?? {};
  const tier = await tierOf(queryable, deps.settings.tiers ?? DEFAULT_TIERS, principal.accountId);
  const name = `tool:${sale.toolId}/${sale.request.tool}`;
  return {
    ...{ id, accountId: principal.accountId, leaseMs: leaseOf(sale) },
    choices: [
      { name, period: 'ever', max: first },
      { name, period: 'day', max: perDay },
    ],
    quota: { name: 'allowances', period: 'day', max: tier.allowanceCallsPerDay },
  };
}

function tierOfKey(deps: GatewayDeps, { accountId }: Principal): Promise<Tier> | undefined {
  const tiers = deps.settings.tiers ?? DEFAULT_TIERS;
  // Mostly no tier limits free tools, and then nobody has to be asked.
  const isLimited = tiers.some(({ freeToolCallsPerDay }) => freeToolCallsPerDay !== undefined);
  return isLimited ? tierOf(deps.sql, tiers, accountId) : undefined;
}

function leaseOf(sale: Sale): number {
  return sale.runTimeoutMs + LEASE_SLACK_MS;
}

function secondsToMidnight(now: Date): number {
  const midnight = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1);
  return Math.max(1, Math.ceil((midnight - now.getTime()) / 1_000));
}
