import { Hono } from 'hono';
import { openDatabase } from '../../../src/db/index.ts';
import { createBatcher } from '../../../src/ledger/charge/batcher.ts';
import { EXAMPLE_ANSWER } from './example-answer.ts';
import { serveApp } from './serve.ts';

/**
 * The same answer after a commit that it shares with all who wait for one: the least that an answer costs here which
 * must not be lost. It asks nobody who they are, takes nothing from anyone and keeps no receipt.
 */
const { sql } = openDatabase({
  url: process.env.DATABASE_URL ?? '',
  poolMax: 2,
  applicationName: 'millicent-bench-commit',
});
await sql`CREATE TABLE bench_commit (answers int NOT NULL)`;
const commits = createBatcher<true, true>({
  async flush(answers) {
    await sql`INSERT INTO bench_commit (answers) VALUES (${answers.length})`;
    return answers;
  },
  ...{ batchMax: 1_000, queueMax: 10_000 },
});

const app = new Hono();
app.get('/v1/example', async (c) => {
  await commits.push(true);
  return c.json(EXAMPLE_ANSWER);
});
serveApp(app);
