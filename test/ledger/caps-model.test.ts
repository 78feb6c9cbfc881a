import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { type Millicents, millicents } from '../../src/core/money.ts';
import { withTransaction } from '../../src/db/index.ts';
import { checkLedger, createLedger, type HoldRequest } from '../../src/ledger/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { holdRequest, newCharger, openFunded, receiptDraft } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const BALANCE = 600;

type Limits = { perCall?: number | undefined; perHour?: number | undefined; total?: number | undefined };
type Step =
  | { kind: 'charge' | 'hold' | 'slow-hold'; amount: number; spender: number }
  | { kind: 'capture' | 'release' | 'slow-capture' | 'slow-release'; which: number }
  | { kind: 'hour' };

/** What caps mean, said as plainly as can be: a list of calls, and sums over it. */
function createModel(caps: Limits[], lines: number[][]) {
  type Call = { amount: number; line: number[]; hour: number; state: 'held' | 'taken' | 'back' };
  const calls: Call[] = [];
  let hour = 0;
  const sum = (chosen: (call: Call) => boolean) =>
    calls
      .filter((call) => call.state !== 'back' && chosen(call))
      .reduce((total, call) => total + call.amount, 0);
  const under = (cap: number) => (call: Call) => call.line.includes(cap);
  const refuses = (index: number, amount: number) => {
    const { perCall = Infinity, perHour = Infinity, total = Infinity } = caps[index] ?? {};
    const inHour = sum((call) => under(index)(call) && call.hour === hour);
    return amount > perCall || sum(under(index)) + amount > total || inHour + amount > perHour;
  };
  return {
    take(amount: number, spender: number, state: 'held' | 'taken'): string {
      const line = lines[spender] ?? [];
      if (line.some((index) => refuses(index, amount))) return 'cap-refused';
      if (sum(() => true) + amount > BALANCE) return 'insufficient';
      calls.push({ amount, line, hour, state });
      return 'held';
    },
    close(which: number, state: 'taken' | 'back'): void {
      const open = calls.filter((call) => call.state === 'held');
      const call = open[which % open.length];
      if (call) call.state = state;
    },
    passHour: () => {
      hour += 1;
    },
    use: (index: number) => ({
      spent: sum((call) => under(index)(call) && call.state === 'taken'),
      held: sum((call) => under(index)(call) && call.state === 'held'),
      hourSpent: sum((call) => under(index)(call) && call.hour === hour),
    }),
  };
}

const limit = fc.option(fc.integer({ min: 0, max: 400 }), { nil: undefined, freq: 3 });
const limits = fc.record({ perCall: limit, perHour: limit, total: limit });
const amount = fc.integer({ min: 1, max: 150 });
const spender = fc.integer({ min: 0, max: 3 });
const which = fc.nat(20);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('charge', 'hold', 'slow-hold'), amount, spender }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('capture', 'release', 'slow-capture', 'slow-release'),
      which,
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'hour' as const }) },
);

/** Nobody, a child, its child, and the child's sibling, by the caps that their calls count against. */
const LINES = [[], [0], [0, 1], [2]];

async function openLines(caps: Limits[]): Promise<Uuid[]> {
  const ledger = createLedger({ sql: database.sql });
  const ids = caps.map(() => newUuid());
  await withTransaction(database.sql, async (tx) => {
    for (const [index, cap] of caps.entries()) {
      const set = Object.entries(cap).flatMap(([name, value]): [string, Millicents][] =>
        value === undefined ? [] : [[name, millicents(value)]],
      );
      const spender = { id: ids[index] ?? '', accountId: newUuid() };
      await ledger.openCap(tx, spender, Object.fromEntries(set));
    }
  });
  return ids;
}

test('whatever is held, taken, given back and waited for, the caps say what the plain model says', async () => {
  const ledger = createLedger({ sql: database.sql });
  const charger = newCharger(database.sql);
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(limits, limits, limits),
      fc.array(step, { minLength: 5, maxLength: 40 }),
      async (caps, steps) => {
        const accountId = await openFunded(database.sql, BALANCE);
        const capIds = await openLines(caps);
        const model = createModel(caps, LINES);
        let open: HoldRequest[] = [];
        for (const step of steps) {
          if (step.kind === 'hour') {
            model.passHour();
            await database.sql`UPDATE ledger_cap SET hour_start = hour_start - interval '1 hour'
              WHERE id = ANY(${capIds}::uuid[])`;
            await database.sql`UPDATE ledger_hold SET cap_hour = cap_hour - interval '1 hour'
              WHERE account_id = ${accountId} AND cap_hour IS NOT NULL`;
          } else if ('which' in step) {
            const call = open[step.which % open.length];
            if (!call) continue;
            open = open.filter((one) => one !== call);
            model.close(step.which, step.kind.endsWith('capture') ? 'taken' : 'back');
            if (step.kind === 'capture') await charger.capture(call, receiptDraft(call.id));
            else if (step.kind === 'release') await charger.release(call);
            else
              await withTransaction(database.sql, (tx) =>
                step.kind === 'slow-capture' ? ledger.capture(tx, call.id, 0) : ledger.release(tx, call.id),
              );
          } else {
            const line = (LINES[step.spender] ?? []).map((index) => capIds[index] ?? '');
            const call = { ...holdRequest(accountId, step.amount), capIds: line };
            const isCharge = step.kind === 'charge';
            const result = isCharge
              ? await charger.charge(call, receiptDraft(call.id))
              : step.kind === 'hold'
                ? await charger.hold(call)
                : await withTransaction(database.sql, (tx) => ledger.holdBalance(tx, call));
            const expected = model.take(step.amount, step.spender, isCharge ? 'taken' : 'held');
            expect(result.kind).toBe(expected);
            if (result.kind === 'held' && !isCharge) open.push(call);
          }
          const uses = await ledger.caps(capIds);
          for (const [index, id] of capIds.entries()) {
            const use = uses.find((one) => one.id === id);
            const counted = {
              spent: Number(use?.spent),
              held: Number(use?.held),
              hourSpent: Number(use?.hourSpent),
            };
            expect(counted).toEqual(model.use(index));
          }
        }
      },
    ),
    { numRuns: 40 },
  );
  expect((await checkLedger(database.sql)).discrepancies).toEqual([]);
}, 60_000);

test('of calls at once, whatever is refused would not have fitted any more, and no cap is passed', async () => {
  const ledger = createLedger({ sql: database.sql });
  const chargers = [newCharger(database.sql), newCharger(database.sql)];
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(limits, limits, limits),
      fc.array(fc.record({ amount, spender }), { minLength: 2, maxLength: 25 }),
      async (caps, calls) => {
        const accountId = await openFunded(database.sql, BALANCE);
        const capIds = await openLines(caps);
        const results = await Promise.all(
          calls.map(async ({ amount, spender }, index) => {
            const line = (LINES[spender] ?? []).map((one) => capIds[one] ?? '');
            const call = { ...holdRequest(accountId, amount), capIds: line };
            const result = await chargers[index % 2]?.charge(call, receiptDraft(call.id));
            return { call, kind: result?.kind };
          }),
        );
        // Nothing is given back here: what still fits at the end would have fitted before.
        for (const { call, kind } of results) {
          if (kind === 'held') continue;
          const retried = await chargers[0]?.charge({ ...call, id: newUuid() }, receiptDraft(call.id));
          expect(['cap-refused', 'insufficient']).toContain(retried?.kind);
        }
        for (const use of await ledger.caps(capIds)) {
          expect(use.spent <= (use.total ?? use.spent)).toBe(true);
          expect(use.hourSpent <= (use.perHour ?? use.hourSpent)).toBe(true);
        }
      },
    ),
    { numRuns: 30 },
  );
  expect((await checkLedger(database.sql)).discrepancies).toEqual([]);
}, 60_000);
