import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { newKeyText } from '../../../src/keys/index.ts';
import { type Books, isCountRight } from '../books.ts';
import type { LoadGenerator } from '../http/load.ts';
import { type HttpSample, measureLoad } from '../http/measure.ts';
import { startServer } from '../http/server-process.ts';

/** The Worker in its simulator: a paid call of it costs what one of the gateway's does. */
export type DurableObject = {
  pay(load: { connections: number; seconds: number }): Promise<HttpSample>;
  prove(): Promise<Books[]>;
  stop(): Promise<void>;
};

const BALANCE = 1_000_000_000_000;
const PRICE = 100;
const TIMEOUT_MS = 30_000;

const booksSchema = z.object({ charges: z.int(), balance: z.int() });

export async function startDurableObject(options: {
  node: string;
  pin: string[];
  generator: LoadGenerator;
}): Promise<DurableObject> {
  const storage = await mkdtemp(join(tmpdir(), 'millicent-bench-object-'));
  const server = await startServer({
    script: 'scripts/bench/durable-object/serve.mjs',
    ...{ pin: options.pin, node: options.node, env: { STORAGE_DIR: storage } },
  });
  const stop = async () => {
    await server.stop();
    await rm(storage, { recursive: true, force: true });
  };
  const key = newKeyText();
  const minted = await fetch(`${server.url}/mint`, {
    ...{ method: 'POST', body: JSON.stringify({ key, balance: BALANCE }) },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch((cause: unknown) => cause);
  if (!(minted instanceof Response && minted.ok)) {
    await stop();
    throw new Error('the durable object mints no key', { cause: minted });
  }
  const called = { acknowledged: 0, cutOffMax: 0 };
  return {
    pay({ connections, seconds }) {
      called.cutOffMax += connections;
      return measureLoad({
        ...{ server, generator: options.generator, expects: 'answers' },
        request: { headers: {}, keys: [key], connections, seconds },
        counted({ answers, refused }) {
          called.acknowledged += answers - refused;
        },
      });
    },
    async prove() {
      if (called.acknowledged === 0) return [];
      const response = await fetch(`${server.url}/books`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      const { charges, balance } = booksSchema.parse(await response.json());
      const isBalanced = balance + charges * PRICE === BALANCE;
      return [
        {
          ...{ label: 'durable object', acknowledged: called.acknowledged, captured: charges },
          isRight: isBalanced && isCountRight({ ...called, captured: charges }),
          discrepancies: isBalanced ? [] : [`${charges} charges left ${balance} of ${BALANCE}`],
        },
      ];
    },
    stop,
  };
}
