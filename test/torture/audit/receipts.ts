import type { JSONWebKeySet } from 'jose';
import type { Sql } from '../../../src/db/index.ts';
import { type BatchProof, verifyBatchProof, verifyReceipt } from '../../../src/provenance/index.ts';
import type { Storm } from '../storm.ts';
import { tell, type Violation } from './violation.ts';

type Row = { subject: string; detail: string };

const say = ({ subject, detail }: Row) => `${subject}: ${detail}`;

/** Receipts against the holds they are for, and their numbers against each other. */
export async function auditReceipts(sql: Sql): Promise<Violation[]> {
  const gaps = await sql<Row[]>`
    SELECT tool_id || ' ' || lane AS subject, concat('numbers ', low, ' to ', high, ', different ', numbers,
        ', receipts ', receipts, ', counted ', counted) AS detail
    FROM (SELECT tool_id, lane, min(seq) AS low, max(seq) AS high, count(DISTINCT seq) AS numbers,
        count(*) AS receipts FROM receipt GROUP BY 1, 2) r
    FULL JOIN (SELECT tool_id, lane, sum(last_seq) AS counted FROM receipt_lane GROUP BY 1, 2) l USING (tool_id, lane)
    WHERE low IS DISTINCT FROM 1 OR high IS DISTINCT FROM receipts OR numbers IS DISTINCT FROM receipts
      OR counted IS DISTINCT FROM receipts`;
  const unpaired = await sql<Row[]>`
    SELECT coalesce(h.id, r.id)::text AS subject, 'hold ' || coalesce(h.amount || ' ' || h.fee, 'none')
        || ', receipt ' || coalesce(r.price || ' ' || r.fee, 'none') AS detail
    FROM (SELECT id, amount, fee FROM ledger_hold WHERE state = 'captured' AND amount > 0) h
    FULL JOIN receipt r ON r.id = h.id
    WHERE h.amount IS DISTINCT FROM r.price OR h.fee IS DISTINCT FROM r.fee`;
  const unsigned = await sql<Row[]>`
    SELECT id::text AS subject, leaf_count || ' receipts are not signed' AS detail FROM receipt_batch
    WHERE signed_at IS NULL`;
  return [
    ...tell('receipt-gap', gaps, say),
    ...tell('receipt-pairs', unpaired, say),
    ...tell('receipt-unsigned', unsigned, say),
  ];
}

const SAMPLE = 200;
const PATIENCE_MS = 15_000;

/** Some receipts as anyone gets them, verified by nothing but the published keys. */
export async function auditSignatures(storm: Storm): Promise<Violation[]> {
  const { world, wire } = storm;
  const gateway = world.fleet.near(0);
  if (!gateway) return [{ rule: 'receipt-signature', detail: 'there is no gateway to ask' }];
  const options = { patienceMs: PATIENCE_MS };
  const jwks = JSON.parse(
    (await wire.get(`${gateway.url}/.well-known/jwks.json`, options)).text,
  ) as JSONWebKeySet;
  const rows = await world.postgres.sql<{ id: string }[]>`
    SELECT id FROM receipt ORDER BY md5(id::text) LIMIT ${SAMPLE}`;
  const wrong: Row[] = [];
  for (const { id } of rows) {
    const answer = await wire.get(`${gateway.url}/receipts/${id}`, options);
    const told = JSON.parse(answer.text) as { jws?: string; batch?: BatchProof };
    const signed = await verifyReceipt(told.jws ?? '', jwks);
    if (signed.kind === 'invalid') wrong.push({ subject: id, detail: `${answer.status} ${signed.reason}` });
    if (signed.kind === 'invalid' || !told.batch) continue;
    const proven = await verifyBatchProof(signed.payload, told.batch, jwks);
    if (proven.kind === 'invalid') wrong.push({ subject: id, detail: proven.reason });
  }
  return tell('receipt-signature', wrong, say);
}
