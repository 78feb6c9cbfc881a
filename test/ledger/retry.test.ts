import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { withRetry } from '../../src/ledger/charge/retry.ts';

const errorOf = (fields: object) => Object.assign(new Error('x'), fields);

/** How often a statement is sent that always fails so, each time after a while. */
async function countTries(fields: object, eachMs = 0): Promise<number> {
  let tries = 0;
  const send = async () => {
    tries += 1;
    await sleep(eachMs);
    throw errorOf(fields);
  };
  await expect(withRetry(send)).rejects.toThrow('x');
  return tries;
}

test.each(['57P01', 'ECONNREFUSED', 'ENOENT', 'EAGAIN', '40001'])(
  '%s passes: a charge is sent again',
  async (code) => {
    let tries = 0;
    const send = async () => {
      tries += 1;
      if (tries === 1) throw errorOf({ code });
      return 'charged';
    };
    expect([await withRetry(send), tries]).toEqual(['charged', 2]);
  },
);

test('a database that is closed, a wrong password and a pool that we closed are told at once', async () => {
  const lasting = [
    { code: '55000', severity: 'FATAL' },
    { code: '28P01', severity: 'FATAL' },
    { code: 'CONNECTION_ENDED' },
  ];
  expect(await Promise.all(lasting.map((fields) => countTries(fields)))).toEqual([1, 1, 1]);
});

test('a charge whose every try waits for a connection is given up after three seconds', async () => {
  expect(await countTries({ code: 'ECONNREFUSED' }, 1_600)).toBe(2);
});
