import { bucketOf } from '../../../src/core/ids.ts';
import type { Sql } from '../../../src/db/index.ts';
import type { HoldRequest } from '../../../src/ledger/index.ts';
import type { ReceiptDraft } from '../../../src/provenance/index.ts';

export type NaiveDeps = { sql: Sql; lane: string };

/**
 * What one writes first: lock the balance, check it, move it, note the call. It leaves the same rows as the
 * exactly-once charge (hold, entry, receipt), checks the key as it does, and is spared what costs extra:
 * its receipts are numbered in memory, with gaps when it fails, and a retry would charge twice.
 */
export function createNaiveCharge(deps: NaiveDeps) {
  let lastSeq = 0n;
  return (request: HoldRequest, receipt: ReceiptDraft): Promise<boolean> =>
    deps.sql.begin(async (tx) => {
      const [payer] = await tx<{ balance: bigint; held: bigint }[]>`
        SELECT p.balance, p.held FROM ledger_payer p JOIN api_key k ON k.account_id = p.id
        WHERE p.id = ${request.accountId} AND k.id = ${request.keyId ?? null} AND k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > now())
        FOR UPDATE OF p`;
      if (!payer || payer.balance - payer.held < request.amount) return false;
      await tx`UPDATE ledger_payer SET balance = balance - ${request.amount}::bigint WHERE id = ${request.accountId}`;
      await tx`INSERT INTO ledger_hold (bucket, id, account_id, key_id, payee_id, subject, label, amount, fee,
          backing, state, expires_at, closed_at)
        VALUES (${bucketOf(request.accountId)}, ${request.id}, ${request.accountId}, ${request.keyId ?? null},
          ${request.payeeId}, ${request.subject ?? null}, ${request.label}, ${request.amount}, ${request.fee},
          'balance', 'captured', now(), now())`;
      await tx`INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount, fee)
        VALUES (${bucketOf(request.accountId)}, ${request.id}, 0, 'share', ${request.accountId}, ${request.payeeId}, 'mc', ${request.amount - request.fee}, ${request.fee})`;
      lastSeq += 1n;
      await tx`INSERT INTO receipt (bucket, id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail,
          payment_ref, request_hash, response_hash)
        VALUES (${bucketOf(request.accountId)}, ${request.id}, ${receipt.toolId}, ${receipt.versionId}, ${receipt.toolName},
          ${deps.lane}, ${lastSeq}, ${receipt.payer}, ${request.amount}, ${request.fee}, ${receipt.rail},
          ${receipt.paymentRef}, ${receipt.requestHash}, ${receipt.responseHash})`;
      return true;
    });
}
