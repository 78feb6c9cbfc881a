import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../../src/core/log.ts';
import { openDatabase, startEmbeddedPostgres } from '../../../src/db/index.ts';
import { type Books, proveBooks } from '../books.ts';
import { findFreePort, mintKey } from '../http/gateway-process.ts';
import type { Plan } from '../plan.ts';
import { removeCluster } from '../postgres.ts';
import { median, spreadOf } from '../ratios.ts';
import type { Part, RunDeps } from '../run.ts';
import { type NpmStart, startByNpm } from './npm-start.ts';

const CALLS = 10;
const CALL_TIMEOUT_MS = 10_000;

/** What a visitor waits for: `npm start` on a folder it was started on before, until /ready says so. */
export async function measureStart({ progress }: RunDeps, plan: Plan): Promise<Part> {
  const folder = await mkdtemp(join(tmpdir(), 'millicent-bench-start-'));
  const dataDir = join(folder, 'data');
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const adminKey = randomBytes(24).toString('hex');
  const env = { HOST: '127.0.0.1', PORT: String(port), MILLICENT_DATA_DIR: dataDir, LOG_LEVEL: 'error' };
  const start = () => startByNpm({ url, env: { ...env, ADMIN_KEY: adminKey } });
  let running: NpmStart | undefined;
  let acknowledged = 0;
  try {
    progress('start-up: the first start, which makes the database');
    running = await start();
    const first = running.seconds;
    const key = await mintKey(url, adminKey);
    const seconds: number[] = [];
    for (let round = 1; round <= plan.starts; round++) {
      acknowledged += await callExample(url, key);
      await running.stop();
      progress(`start-up: ${round} of ${plan.starts}`);
      running = await start();
      seconds.push(running.seconds);
    }
    // With a key and a balance from before: ready is what can sell.
    acknowledged += await callExample(url, key);
    await running.stop();
    progress('checking the books');
    const ours = `${median(seconds).toFixed(2)} s; the first start ${first.toFixed(2)} s`;
    return {
      findings: [{ row: 'start-up', measured: spreadOf(seconds), ours, peer: '' }],
      books: [await proveAfterwards(dataDir, acknowledged)],
    };
  } finally {
    await running?.stop();
    await removeCluster(join(dataDir, 'pg'));
    await rm(folder, { recursive: true, force: true });
  }
}

async function callExample(url: string, key: string): Promise<number> {
  for (let call = 0; call < CALLS; call++) {
    const response = await fetch(`${url}/v1/example`, {
      headers: { authorization: `Bearer ${key}` },
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
    if (!response.ok)
      throw new Error(`a paid call was answered ${response.status}: ${await response.text()}`);
    await response.body?.cancel();
  }
  return CALLS;
}

/** The gateway has stopped its database; here it is started once more to be read. */
async function proveAfterwards(dataDir: string, acknowledged: number): Promise<Books> {
  const postgres = await startEmbeddedPostgres({ dataDir: join(dataDir, 'pg'), log: silentLog });
  const { sql, close } = openDatabase({ url: postgres.url, poolMax: 1, applicationName: 'millicent-bench' });
  try {
    return await proveBooks(sql, { name: 'start-up', label: 'example', acknowledged, cutOffMax: 0 });
  } finally {
    await close();
    await postgres.close();
  }
}
