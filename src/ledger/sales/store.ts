import type { Uuid } from '../../core/ids.ts';
import type { Queryable } from '../../db/index.ts';
import { publisherAccount } from '../account.ts';

/** What a publisher was booked for calls of one version (`ledger_hold.subject`): sums of entries in millicents. */
export type BookedSales = { subject: Uuid; count: bigint; net: bigint; fees: bigint };

/**
 * What the journal says a publisher earned, by version. Calls whose whole price was the fee have no share and are
 * not in it.
 */
export function sumBookedSales(sql: Queryable, publisherId: Uuid): Promise<BookedSales[]> {
  return sql<BookedSales[]>`
    SELECT h.subject, count(*) AS count, sum(s.amount)::bigint AS net, sum(s.fee + coalesce(f.amount, 0))::bigint AS fees
    FROM ledger_entry s JOIN ledger_hold h ON h.id = s.transfer_id
    LEFT JOIN ledger_entry f ON f.transfer_id = s.transfer_id AND f.kind = 'fee'
    WHERE s.kind = 'share' AND s.credit_id = ${publisherAccount(publisherId).id} AND h.subject IS NOT NULL
    GROUP BY h.subject`;
}
