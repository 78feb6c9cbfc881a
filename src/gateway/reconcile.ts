import { withTransaction } from '../db/index.ts';
import type { OpenExposure } from '../ledger/index.ts';
import type { Rail, RailBalance } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';

/** One asset account beside what its rail says is there, in native units. */
export type AssetReport = {
  account: string;
  unit: string;
  /** What the journal says we hold. */
  booked: bigint;
  /** The operator's own money beside it. */
  float: bigint;
  /** What the rail says; undefined while it cannot be asked. */
  external: bigint | undefined;
  /** `external` less `booked` and `float`. */
  difference: bigint | undefined;
  /** Settlements whose outcome is not booked yet: any of them may be in `external`. */
  open: { authorised: bigint; settling: bigint; unknown: bigint };
  verdict: 'agrees' | 'explained' | 'differs' | 'unknown';
};

export type ReconciliationReport = {
  /** Every rail answered, and every account agrees or differs by no more than what is being settled. */
  isReconciled: boolean;
  assets: AssetReport[];
  unreachable: { rail: string; reason: string }[];
};

const OPENING = 'opening';

/** Holds every rail beside the books, to the last unit. Reads only. */
export async function reconcileRails(
  deps: Pick<GatewayDeps, 'ledger' | 'rails'>,
  signal: AbortSignal,
): Promise<ReconciliationReport> {
  const { balances, unreachable } = await readBalances(deps.rails, signal);
  // The books after the rails: what arrives in between is in the books and explains itself as a settlement.
  const [assets, exposures] = await Promise.all([deps.ledger.assets(), deps.ledger.openExposures()]);
  const names = new Map([...balances, ...assets].map(({ account, unit }) => [account, unit]));
  const reports = [...names].map(([account, unit]) => {
    const asset = assets.find((each) => each.account === account);
    const external = balances.find((each) => each.account === account)?.units;
    const [booked, float] = [asset?.booked ?? 0n, asset?.float ?? 0n];
    return judge({ account, unit, booked, float, external, open: sumOpen(account, exposures) });
  });
  const agree = reports.every(({ verdict }) => verdict === 'agrees' || verdict === 'explained');
  // A rail that was not asked agrees with nothing, also where the books know no account of it yet.
  const isReconciled = agree && unreachable.length === 0;
  return { isReconciled, assets: reports, unreachable };
}

/**
 * Notes what was on a rail before the books knew it, once an account: from then on the two must agree. Until a
 * rail answers for the first time its account has no opening, so this is asked again.
 */
export async function noteOpenings(
  deps: Pick<GatewayDeps, 'ledger' | 'rails' | 'sql' | 'log'>,
  signal: AbortSignal,
): Promise<void> {
  const { balances } = await readBalances(deps.rails, signal);
  const assets = new Map((await deps.ledger.assets()).map((asset) => [asset.account, asset]));
  for (const { account, unit, units: external } of balances) {
    const asset = assets.get(account);
    if (asset?.isOpened) continue;
    const units = external - (asset?.booked ?? 0n);
    const isNoted = await withTransaction(deps.sql, (tx) =>
      deps.ledger.noteFloat(tx, { account, unit, units, name: OPENING }),
    );
    if (isNoted) deps.log.info({ account, units: units.toString() }, 'noted the opening of a rail account');
  }
}

/** Takes what differs for the operator's own doing (a withdrawal by hand, gas refilled), under a name. */
export async function adoptDifferences(
  deps: Pick<GatewayDeps, 'ledger' | 'rails' | 'sql'>,
  name: string,
  signal: AbortSignal,
): Promise<ReconciliationReport> {
  const { assets } = await reconcileRails(deps, signal);
  for (const { account, unit, difference, verdict } of assets) {
    if (verdict !== 'differs' || difference === undefined) continue;
    await withTransaction(deps.sql, (tx) =>
      deps.ledger.noteFloat(tx, { account, unit, units: difference, name }),
    );
  }
  return reconcileRails(deps, signal);
}

async function readBalances(
  rails: readonly Rail[],
  signal: AbortSignal,
): Promise<{ balances: RailBalance[]; unreachable: ReconciliationReport['unreachable'] }> {
  const answers = await Promise.allSettled(rails.map((rail) => rail.balances(signal)));
  const balances = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const unreachable = answers.flatMap((answer, index) =>
    answer.status === 'rejected'
      ? [{ rail: rails[index]?.name ?? '', reason: 'The rail does not answer now.' }]
      : [],
  );
  return { balances, unreachable };
}

function sumOpen(account: string, exposures: readonly OpenExposure[]): AssetReport['open'] {
  const open = { authorised: 0n, settling: 0n, unknown: 0n };
  for (const { rail, unit, state, units } of exposures) {
    if (`A.${rail}:${unit}` === account && state in open) open[state as keyof typeof open] += units;
  }
  return open;
}

function judge(facts: Omit<AssetReport, 'difference' | 'verdict'>): AssetReport {
  if (facts.external === undefined) return { ...facts, difference: undefined, verdict: 'unknown' };
  const difference = facts.external - facts.booked - facts.float;
  const inDoubt = facts.open.settling + facts.open.unknown;
  const isExplained = difference > 0n && difference <= inDoubt;
  return {
    ...facts,
    difference,
    verdict: difference === 0n ? 'agrees' : isExplained ? 'explained' : 'differs',
  };
}
