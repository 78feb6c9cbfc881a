import { expect, test } from 'vitest';
import { millicents } from '../../src/core/money.ts';
import { judge } from '../../src/ledger/charge/charger.ts';
import type { ChargeAnswer, ChargeRow } from '../../src/ledger/charge/store.ts';

const row = (id: string, amount: bigint) =>
  ({ id, accountId: 'one', amount: millicents(amount) }) as unknown as ChargeRow;
const refused = (ord: number, rest: bigint): ChargeAnswer =>
  ({ ord, rest, isAccepted: false, existing: null, isKeyRefused: false }) as unknown as ChargeAnswer;

test('all who are refused in one batch are told the balance there is, not what the others would have left of it', () => {
  const rows = [row('a', 100n), row('b', 100n), row('c', 250n), row('d', 50n)];
  // 60 are left: what a statement answers is the running sum of all that was asked for.
  const answers = [refused(1, -40n), refused(2, -140n), refused(3, -390n), refused(4, -440n)];
  expect(judge(rows, answers)).toEqual([
    { kind: 'insufficient', available: 60n },
    { kind: 'insufficient', available: 60n },
    { kind: 'insufficient', available: 60n },
    { kind: 'ask-again' },
  ]);
});
