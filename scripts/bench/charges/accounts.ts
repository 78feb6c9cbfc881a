import { systemClock } from '../../../src/core/clock.ts';
import { newUuid, type Uuid } from '../../../src/core/ids.ts';
import { millicents } from '../../../src/core/money.ts';
import { type Sql, withTransaction } from '../../../src/db/index.ts';
import { createKeys, newKeyText } from '../../../src/keys/index.ts';
import { createLedger } from '../../../src/ledger/index.ts';

/** A payer with a key, and more balance than a bench can spend. */
export type Payer = { accountId: Uuid; keyId: Uuid };

const BALANCE = millicents(100_000_000_000n);
/** Accounts opened in one transaction, and transactions at a time. */
const GROUP = 100;
const GROUPS_AT_ONCE = 8;

/** Opens accounts with keys as the gateway does when an operator mints them. */
export async function openPayers(sql: Sql, count: number, payeeId: Uuid): Promise<Payer[]> {
  const ledger = createLedger({ sql });
  await withTransaction(sql, async (tx) => {
    await ledger.openPlatform(tx);
    await ledger.openPublisher(tx, payeeId);
  });
  const groups = Array.from({ length: Math.ceil(count / GROUP) }, (_, index) =>
    Math.min(GROUP, count - index * GROUP),
  );
  const payers: Payer[] = [];
  const work = async () => {
    for (let size = groups.pop(); size !== undefined; size = groups.pop()) {
      payers.push(...(await openGroup(sql, size)));
    }
  };
  await Promise.all(Array.from({ length: GROUPS_AT_ONCE }, work));
  return payers;
}

function openGroup(sql: Sql, size: number): Promise<Payer[]> {
  const ledger = createLedger({ sql });
  const keys = createKeys({ sql, clock: systemClock });
  return withTransaction(sql, async (tx) => {
    const payers: Payer[] = [];
    for (let index = 0; index < size; index++) {
      const accountId = newUuid();
      await ledger.openPayer(tx, accountId);
      await ledger.promote(tx, { id: newUuid(), accountId, amount: BALANCE });
      const { id } = await keys.issue(tx, { keyText: newKeyText(), accountId, scopes: ['example'] });
      payers.push({ accountId, keyId: id });
    }
    return payers;
  });
}
