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

test('behind a request whose id somebody else took at that moment, nobody is told a balance or refused for it', () => {
  const other = { ...row('e', 10n), accountId: 'two' };
  const rows = [row('a', 100n), row('b', 10n), row('c', 50n), other];
  // 120 were there. The first fits and was not inserted, and yet it counts in the sums behind it.
  const answers = [
    refused(1, 20n),
    { ...refused(2, 10n), isAccepted: true },
    refused(3, -40n),
    { ...refused(4, 7n), isAccepted: true },
  ];
  expect(judge(rows, answers)).toEqual([
    { kind: 'ask-again' },
    { kind: 'held' },
    { kind: 'ask-again' },
    { kind: 'held', rest: 7n },
  ]);
});
