import { Pool } from 'undici';
import type { LoadAnswer, LoadRequest } from '../http/load.ts';

/** Asks over and over on every connection until the time is up, and prints one line of JSON. */
const request: LoadRequest = JSON.parse(process.argv[2] ?? '');
const { origin, pathname } = new URL(request.url);
const pool = new Pool(origin, { connections: request.connections, pipelining: 1, headersTimeout: 10_000 });
const started = performance.now();
const end = started + request.seconds * 1_000;
let [answers, refused, broken] = [0, 0, 0];

async function loop(): Promise<void> {
  while (performance.now() < end) {
    try {
      const { statusCode, body } = await pool.request({
        path: pathname,
        method: 'GET',
        headers: request.headers,
      });
      await body.dump();
      answers++;
      if (statusCode >= 400) refused++;
    } catch {
      broken++;
    }
  }
}

await Promise.all(Array.from({ length: request.connections }, loop));
const perSecond = answers / ((performance.now() - started) / 1_000);
console.log(JSON.stringify({ answers, perSecond, refused, broken } satisfies LoadAnswer));
await pool.close();
