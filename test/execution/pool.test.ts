import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { Problem } from '../../src/core/problem.ts';
import { type Backend, DEFAULT_LIMITS, type Execution, type Jail } from '../../src/execution/index.ts';
import { createDemand } from '../../src/execution/pool/demand.ts';
import { createPool, type Pool } from '../../src/execution/pool/pool.ts';
import {
  call,
  codeOf,
  findLastingTraces,
  findTraces,
  hosted,
  NO_TRACES,
  never,
  testBackend,
  testExecution,
  textStats,
} from './harness.ts';

const MIB = 1024 * 1024;
const BUDGET = { poolMemoryBytesMax: 256 * MIB };

/** What a pool did with the sandbox. */
type Watched = { backend: Backend; jails: Jail[] };

function watch(): Watched {
  const backend = testBackend();
  const jails: Jail[] = [];
  const acquire: Backend['acquire'] = async (spec, signal) => {
    const jail = await backend.acquire(spec, signal);
    jails.push(jail);
    return jail;
  };
  return { backend: { ...backend, acquire }, jails };
}

const backend = testBackend();
afterAll(() => backend.close());

function testPool(settings: { backend?: Pick<Backend, 'acquire'>; memoryBytesMax?: number } = {}): Pool {
  return createPool({
    backend: settings.backend ?? backend,
    poolMemoryBytesMax: settings.memoryBytesMax ?? BUDGET.poolMemoryBytesMax,
    busy: () => 0,
    clock: systemClock,
    log: silentLog,
  });
}

async function until(isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error('it did not come about');
    await sleep(10);
  }
}

const python = { runtime: 'python', limits: DEFAULT_LIMITS } as const;
const root = { version: '3', sha256: '00' };
const count = (execution: Execution, text: string) =>
  call(execution, { code: textStats, toolName: 'count', arguments: { text } });
const ready = (pool: Pool | Execution) => ('load' in pool ? pool.load().waitingJails : pool.waiting()).ready;

describe('a pool', () => {
  const open: (Pool | Execution)[] = [];
  const opened = <Item extends Pool | Execution>(item: Item): Item => {
    open.push(item);
    return item;
  };
  afterEach(async () => {
    for (const item of open.splice(0)) await item.close();
    expect(await findLastingTraces()).toEqual(NO_TRACES);
  });

  it('has jails of the default kinds wait, and refills what a call takes', async () => {
    const pool = opened(testPool());
    pool.stand({ python: root });
    await until(() => ready(pool) === 2);
    const { jail, isWarm } = await pool.take(python, never);
    expect(isWarm).toBe(true);
    await until(() => ready(pool) === 2);
    await jail.kill('done');
  });

  it('starts a jail of a kind that nobody expected, and has one wait once it is wanted again', async () => {
    const pool = opened(testPool());
    const odd = { ...python, limits: { ...DEFAULT_LIMITS, memoryBytesMax: 300 * MIB } };
    const first = await pool.take(odd, never);
    await until(() => ready(pool) === 1);
    const second = await pool.take(odd, never);
    expect([first.isWarm, second.isWarm]).toEqual([false, true]);
    await Promise.all([first, second].map(({ jail }) => jail.kill('done')));
  });

  it('gives up a kind that nobody uses for a minute, and keeps the default ones', async () => {
    const pool = opened(testPool());
    pool.stand({ python: root });
    const odd = { ...python, limits: { ...DEFAULT_LIMITS, pidsMax: 20 } };
    await (await pool.take(odd, never)).jail.kill('done');
    await until(() => ready(pool) === 3);
    for (let look = 0; look < 14; look += 1) pool.adapt();
    await until(() => ready(pool) === 2 && pool.waiting().starting === 0);
    expect(
      (await pool.take(odd, never).then(async ({ jail, isWarm }) => [isWarm, await jail.kill('done')]))[0],
    ).toBe(false);
  });

  it('has a jail of a default kind wait however much others are in use', async () => {
    const pool = opened(testPool({ memoryBytesMax: 40 * MIB }));
    const odd = { ...python, limits: { ...DEFAULT_LIMITS, pidsMax: 20 } };
    for (let turn = 0; turn < 3; turn += 1) await (await pool.take(odd, never)).jail.kill('done');
    await until(() => ready(pool) === 2);
    pool.stand({ python: root });
    pool.refill();
    await sleep(300);
    await until(() => ready(pool) === 2 && pool.waiting().starting === 0);
    const { jail, isWarm } = await pool.take(python, never);
    expect(isWarm).toBe(true);
    await jail.kill('done');
  });

  it('never holds more memory than it may, and a kind in use takes the place of one that is not', async () => {
    const pool = opened(testPool({ memoryBytesMax: 20 * MIB }));
    const kinds = [20, 21].map((pidsMax) => ({ ...python, limits: { ...DEFAULT_LIMITS, pidsMax } }));
    for (const kind of kinds) {
      await (await pool.take(kind, never)).jail.kill('done');
      await until(() => ready(pool) === 1);
      const { jail, isWarm } = await pool.take(kind, never);
      expect(isWarm).toBe(true);
      await jail.kill('done');
      await until(() => ready(pool) === 1);
      pool.adapt();
      pool.adapt();
      expect(pool.waiting().memoryBytes).toBeLessThanOrEqual(20 * MIB);
    }
  });

  it('has no jail wait that has a way out, and none at all without memory for it', async () => {
    const specs: unknown[] = [];
    const acquire = (spec: unknown) => {
      specs.push(spec);
      return Promise.reject(new Error('no'));
    };
    const refuse = { acquire };
    const pool = opened(testPool({ backend: refuse }));
    const none = opened(testPool({ backend: refuse, memoryBytesMax: 0 }));
    await expect(pool.take({ ...python, egressSocket: '/run/x' }, never)).rejects.toThrow('no');
    none.stand({ python: root });
    await expect(none.take(python, never)).rejects.toThrow('no');
    await sleep(100);
    expect(specs).toHaveLength(2);
  });

  it('replaces a jail that died while it waited, and no call ever meets it', async () => {
    const { backend: watched, jails } = watch();
    const pool = opened(testPool({ backend: watched }));
    pool.stand({ python: root });
    await until(() => ready(pool) === 2);
    // A bootstrap without its stdin ends.
    for (const jail of jails) jail.stdin.end();
    await until(() => ready(pool) === 0);
    await until(() => ready(pool) === 2);
    expect(jails.length).toBeGreaterThanOrEqual(4);
    await watched.close();
  });

  it('tries ever more rarely what fails, and a call hears why', async () => {
    let attempts = 0;
    const failing = {
      acquire: () => {
        attempts += 1;
        return Promise.reject(new Problem('unavailable', { detail: 'no more of these' }));
      },
    };
    const pool = opened(testPool({ backend: failing }));
    pool.stand({ python: root });
    await sleep(300);
    expect(attempts).toBeLessThanOrEqual(2);
    await expect(pool.take(python, never)).rejects.toThrow('no more of these');
  });

  it('loses no jail to a call that leaves while its jail is on the way', async () => {
    const pool = opened(testPool());
    pool.stand({ python: root });
    await until(() => pool.waiting().starting > 0);
    const leaving = new AbortController();
    const taken = Promise.allSettled([pool.take(python, leaving.signal)]);
    leaving.abort(new Error('gone'));
    expect(await taken).toMatchObject([{ status: 'rejected', reason: { message: 'gone' } }]);
    await until(() => ready(pool) >= 2);
  });

  it('that is closed leaves nothing, whatever waits or is on its way', async () => {
    const pool = testPool();
    pool.stand({ python: root, node: root });
    await until(() => ready(pool) > 0);
    await pool.close();
    expect(await findTraces()).toEqual(NO_TRACES);
    expect(pool.waiting()).toMatchObject({ ready: 0, starting: 0 });
  });
});

describe('calls with a pool', () => {
  it('are all answered, 20 at once, and the pool is as it was', async () => {
    const execution = testExecution(testBackend(), BUDGET);
    await execution.status();
    await until(() => ready(execution) === 4);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) => count(execution, 'w '.repeat(n))),
    );
    expect(outcomes.map((o) => (o.kind === 'delivered' ? o.result.structuredContent?.words : o))).toEqual(
      Array.from({ length: 20 }, (_, n) => n),
    );
    await until(() => ready(execution) >= 4 && execution.load().running === 0);
    await execution.close();
    expect(await findTraces()).toEqual(NO_TRACES);
  });

  it('share nothing: a jail serves one of them', async () => {
    const { backend: watched, jails } = watch();
    const execution = testExecution(watched, BUDGET);
    const code = codeOf(
      ['mcp.py'],
      {
        'server.py': `
import mcp, os
def leave(arguments):
    found = os.listdir("/tmp")
    open("/tmp/trace", "w").close()
    return mcp.structured({"found": found})
mcp.serve({"leave": ({"inputSchema": {"type": "object"}}, leave)})
`,
      },
      'server.py',
    );
    for (let turn = 0; turn < 4; turn += 1) {
      const outcome = await call(execution, { code, toolName: 'leave' });
      expect(outcome).toMatchObject({ kind: 'delivered', result: { structuredContent: { found: [] } } });
    }
    expect(new Set(jails.map(({ id }) => id)).size).toBeGreaterThanOrEqual(4);
    await execution.close();
  });

  it('survive a jail that dies between being taken and hearing the code', async () => {
    const { backend: watched, jails } = watch();
    const execution = testExecution(watched, BUDGET);
    await execution.status();
    await until(() => ready(execution) === 4);
    const counting = count(execution, 'a b c');
    for (const jail of jails.slice()) jail.stdin.end();
    expect(await counting).toMatchObject({ kind: 'delivered', result: { structuredContent: { words: 3 } } });
    await execution.close();
  });

  it('of a server that ends without a word are its own failure, however often it is tried', async () => {
    const execution = testExecution(testBackend(), BUDGET);
    await execution.status();
    await until(() => ready(execution) === 4);
    const code = codeOf([], { 'server.py': 'raise SystemExit(5)' });
    const detail = 'The server ended before it answered (exit code 5).';
    expect(await call(execution, { code, toolName: 'x' })).toMatchObject({ reason: 'crashed', detail });
    await execution.close();
  });

  it('of code that cannot be unpacked fail as a crash of the tool, and the next one is served', async () => {
    const execution = testExecution(testBackend(), BUDGET);
    const code = codeOf([], { 'server.py': '', a: 'a file', 'a/b': 'in a file' });
    expect(await call(execution, { code, toolName: 'x' })).toMatchObject({
      kind: 'failed',
      reason: 'crashed',
    });
    const inspection = await execution.inspect({ server: hosted(code) }, never);
    expect(inspection).toMatchObject({ stderr: expect.stringMatching(/could not be unpacked/) });
    expect(await count(execution, 'fine')).toMatchObject({ kind: 'delivered' });
    await execution.close();
  });
});

describe('demand', () => {
  const look = { seconds: 5, refillSeconds: 0.05, ready: 0 };

  it('grows with each call that found nothing ready, and at most doubles between two looks', () => {
    const demand = createDemand(2);
    for (let miss = 0; miss < 100; miss += 1) demand.missed();
    expect(demand.wanted()).toBe(6);
    demand.look(look);
    for (let miss = 0; miss < 100; miss += 1) demand.missed();
    expect(demand.wanted()).toBe(14);
  });

  it('shrinks by half of what nobody needed, down to the least', () => {
    const demand = createDemand(2);
    for (let miss = 0; miss < 4; miss += 1) demand.missed();
    const steps = Array.from({ length: 6 }, () => {
      demand.look({ ...look, ready: demand.wanted() });
      return demand.wanted();
    });
    expect(steps).toEqual([6, 3, 2, 2, 2, 2]);
  });

  it('keeps what a steady stream needs while one is being made', () => {
    const demand = createDemand(0);
    for (let call = 0; call < 1000; call += 1) demand.took(5);
    demand.look({ ...look, ready: 5 });
    expect(demand.wanted()).toBe(10);
  });

  it('is idle once nobody has come for so long', () => {
    const demand = createDemand(0);
    demand.missed();
    demand.look(look);
    expect(demand.isIdle(1)).toBe(false);
    demand.look(look);
    expect([demand.isIdle(1), demand.isIdle(2)]).toEqual([true, false]);
  });
});
