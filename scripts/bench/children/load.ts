import { Pool } from 'undici';
import type { LoadAnswer, LoadRequest } from '../http/load.ts';

/** Asks over and over on every connection until the time is up, and prints one line of JSON. */
const request: LoadRequest = JSON.parse(process.argv[2] ?? '');
const { origin, pathname } = new URL(request.url);
const callers = request.keys.length > 0 ? request.keys : [undefined];
const each = Math.ceil(request.connections / callers.length);
const started = performance.now();
const end = started + request.seconds * 1_000;
let [answers, refused, broken] = [0, 0, 0];

/** A caller has connections of its own. */
async function call(key: string | undefined): Promise<void> {
  const pool = new Pool(origin, { connections: each, pipelining: 1, headersTimeout: 10_000 });
  const headers =
    key === undefined ? request.headers : { ...request.headers, authorization: `Bearer ${key}` };
  await Promise.all(Array.from({ length: each }, () => loop(pool, headers)));
  await pool.close();
}

async function loop(pool: Pool, headers: Record<string, string>): Promise<void> {
  while (performance.now() < end) {
    try {
      const { statusCode, body } = await pool.request({ path: pathname, method: 'GET', headers });
      await body.dump();
      answers++;
      if (statusCode >= 400) refused++;
    } catch {
      broken++;
    }
  }
}

await Promise.all(callers.map(call));
const perSecond = answers / ((performance.now() - started) / 1_000);
console.log(JSON.stringify({ answers, perSecond, refused, broken } satisfies LoadAnswer));
