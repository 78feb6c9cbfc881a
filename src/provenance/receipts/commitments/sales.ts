import type { Uuid } from '../../../core/ids.ts';
import type { Sql } from '../../../db/index.ts';
import type { Issuer } from '../leaves.ts';
import { type ReceiptPayload, toReceiptPayload, type VersionDescription } from '../receipt.ts';
import { readBatchPayload } from '../verify.ts';
import { listSales, type SaleRow } from './store.ts';

/** A receipt as its publisher sees it: with what opens its commitment once it is logged. */
export type SoldReceipt = { payload: ReceiptPayload; log: { index: number; salt: string } | undefined };

/** Where a page of sales ended; lane `''` and 0 before the first. */
export type SalePosition = { lane: string; seq: bigint };

type SalesDeps = {
  sql: Sql;
  /** Who issues what is neither sealed nor logged yet. */
  current: Issuer;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

export async function readSales(
  deps: SalesDeps,
  input: { toolId: Uuid; after: SalePosition; salesMax: number },
): Promise<SoldReceipt[]> {
  const { toolId, after, salesMax } = input;
  const sales: SoldReceipt[] = [];
  for (const row of await listSales(deps.sql, { toolId, after, rowsMax: salesMax })) {
    const version = await deps.describeVersion(row.versionId);
    const payload = toReceiptPayload(row, version, issuerOf(row) ?? deps.current);
    const isLogged = row.leafIndex !== null && row.salt !== null;
    const log = isLogged
      ? { index: Number(row.leafIndex), salt: row.salt?.toString('hex') ?? '' }
      : undefined;
    sales.push({ payload, log });
  }
  return sales;
}

function issuerOf({ iss, logOrigin, jws }: SaleRow): Issuer | undefined {
  if (iss !== null && logOrigin !== null) return { iss, log: logOrigin };
  return jws === null ? undefined : readBatchPayload(jws);
}
