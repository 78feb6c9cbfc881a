import type { Queryable, Sql } from '../../db/index.ts';

/** The operator's own money on a rail, in native units; negative for what was taken out. */
export type Float = { account: string; name: string; unit: string; units: bigint };

/** An asset account of the chart: what the journal says, and what the operator has in it besides. */
export type Asset = {
  account: string;
  unit: string;
  booked: bigint;
  float: bigint;
  /** A float was noted for it, if only of nothing. */
  isOpened: boolean;
};

/** False when the account has a float of this name already. */
export async function insertFloat(sql: Queryable, float: Float): Promise<boolean> {
  const { account, name, unit, units } = float;
  const rows = await sql`INSERT INTO ledger_float (account, name, unit, units)
    VALUES (${account}, ${name}, ${unit}, ${units.toString()}::numeric) ON CONFLICT DO NOTHING RETURNING name`;
  return rows.length === 1;
}

/** Every asset account with what should be in it: debits less credits, and the floats beside them. */
export async function sumAssets(sql: Sql): Promise<Asset[]> {
  const rows = await sql<(Omit<Asset, 'booked' | 'float'> & { booked: string; float: string })[]>`
    WITH booked AS (SELECT a.name AS account, a.unit, -sum(l.signed) AS units
        FROM ledger_leg l JOIN ledger_account a ON a.id = l.account_id
        WHERE a.name LIKE 'A.%' GROUP BY a.name, a.unit),
      float AS (SELECT account, unit, sum(units) AS units FROM ledger_float GROUP BY account, unit)
    SELECT account, unit, coalesce(b.units, 0)::text AS booked, coalesce(f.units, 0)::text AS float,
      f.units IS NOT NULL AS is_opened
    FROM booked b FULL JOIN float f USING (account, unit) ORDER BY account`;
  return rows.map((row) => ({ ...row, booked: BigInt(row.booked), float: BigInt(row.float) }));
}
