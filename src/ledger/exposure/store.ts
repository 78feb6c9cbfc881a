import { bucketOf, type Uuid } from '../../core/ids.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import type { ledgerExposure } from '../schema.ts';

export type ExposureRow = typeof ledgerExposure.$inferSelect;
export type ExposureState = ExposureRow['state'];

/** Serialises what is decided about one payer's open money; the row is made on first use. */
export async function lockExposurePayer(tx: Tx, payer: string, unit: string): Promise<void> {
  await tx`INSERT INTO ledger_exposure_payer (payer, unit) VALUES (${payer}, ${unit}) ON CONFLICT DO NOTHING`;
  await tx`SELECT FROM ledger_exposure_payer WHERE payer = ${payer} AND unit = ${unit} FOR UPDATE`;
}

export type ExposureSums = {
  openUnits: bigint;
  openAmount: bigint;
  openCount: bigint;
  posted: bigint;
  /** Runs it never paid for. */
  losses: bigint;
};

/** What a payer has promised and not yet paid, and what it did pay in the last 30 days. */
export async function sumExposure(tx: Tx, payer: string, unit: string): Promise<ExposureSums> {
  const [row] = await tx<ExposureSums[]>`
    SELECT coalesce(sum(units) FILTER (WHERE state IN ('authorised', 'settling', 'unknown')), 0)::bigint AS open_units,
      coalesce(sum(amount) FILTER (WHERE state IN ('authorised', 'settling', 'unknown')), 0)::bigint AS open_amount,
      count(*) FILTER (WHERE state IN ('authorised', 'settling', 'unknown')) AS open_count,
      coalesce(sum(amount) FILTER (WHERE state = 'posted'), 0)::bigint AS posted,
      count(*) FILTER (WHERE is_loss = 1) AS losses
    FROM ledger_exposure WHERE payer = ${payer} AND unit = ${unit} AND created_at > now() - interval '30 days'`;
  return row ?? { openUnits: 0n, openAmount: 0n, openCount: 0n, posted: 0n, losses: 0n };
}

/** What runs cost that were never paid for, in the last hour: of one publisher, and of all. */
export async function sumLosses(tx: Tx, payeeId: Uuid): Promise<{ ofPayee: bigint; ofAll: bigint }> {
  const [row] = await tx<{ ofPayee: bigint; ofAll: bigint }[]>`
    SELECT coalesce(sum(amount) FILTER (WHERE payee_id = ${payeeId}), 0)::bigint AS of_payee,
      coalesce(sum(amount), 0)::bigint AS of_all
    FROM ledger_exposure WHERE is_loss = 1 AND updated_at > now() - interval '1 hour'`;
  return row ?? { ofPayee: 0n, ofAll: 0n };
}

export type NewExposure = Pick<
  ExposureRow,
  'id' | 'rail' | 'payer' | 'payeeId' | 'unit' | 'units' | 'amount' | 'state'
>;

export async function insertExposure(tx: Tx, exposure: NewExposure): Promise<void> {
  await tx`INSERT INTO ledger_exposure ${tx({ ...exposure, bucket: bucketOf(exposure.id) })}`;
}

/** Moves an open exposure on; a void or posted one stays as it is, but for money that was taken back. */
export async function updateExposure(
  tx: Queryable,
  id: Uuid,
  state: ExposureState,
  isLoss: boolean,
): Promise<void> {
  await tx`UPDATE ledger_exposure SET state = ${state}, is_loss = ${isLoss ? 1 : 0}, updated_at = now()
    WHERE id = ${id} AND (state IN ('authorised', 'settling', 'unknown') OR (state = 'posted' AND ${isLoss}))`;
}

/** Money promised on a rail that has not been booked, by what is known of it; `units` is native. */
export type OpenExposure = { rail: string; unit: string; state: ExposureState; count: bigint; units: bigint };

export async function sumOpenExposures(sql: Queryable): Promise<OpenExposure[]> {
  return sql<OpenExposure[]>`SELECT rail, unit, state, count(*) AS count, sum(units)::bigint AS units
    FROM ledger_exposure WHERE state IN ('authorised', 'settling', 'unknown')
    GROUP BY rail, unit, state ORDER BY rail, unit, state`;
}
