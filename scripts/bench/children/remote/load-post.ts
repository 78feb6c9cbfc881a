import { Pool } from 'undici';
import type { LoadAnswer, LoadRequest } from '../../http/load.ts';

/** Calls a tool over and over on every connection until the time is up, and prints one line of JSON. */
const { url, connections, seconds }: LoadRequest = JSON.parse(process.argv[2] ?? '');
const pool = new Pool(url, { connections, pipelining: 1, headersTimeout: 10_000 });
const body = JSON.stringify({
  ...{ jsonrpc: '2.0', id: 1, method: 'tools/call' },
  params: { name: 'answer', arguments: { text: 'What is asked in some forty words. '.repeat(4), count: 7 } },
});
const headers = {
  ...{ 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
  'mcp-protocol-version': '2025-11-25',
};
const started = performance.now();
const end = started + seconds * 1_000;
let [answers, refused, broken] = [0, 0, 0];

async function loop(): Promise<void> {
  while (performance.now() < end) {
    try {
      const answer = await pool.request({ path: '/mcp', method: 'POST', headers, body });
      const text = await answer.body.text();
      answers++;
      if (answer.statusCode !== 200 || !text.includes('Forty-two')) refused++;
    } catch {
      broken++;
    }
  }
}

await Promise.all(Array.from({ length: connections }, loop));
const perSecond = answers / ((performance.now() - started) / 1_000);
console.log(JSON.stringify({ answers, perSecond, refused, broken } satisfies LoadAnswer));
await pool.close();
