import type { Sql } from '../db/index.ts';

/** Statements that wait for each other's rows carry out of order what they began in order. */
const CLOCK_SLACK_SECONDS = 10;

export type Taken = { name: string; takenSeconds: number };

/**
 * Adds what was taken to the buckets that all processes share, and answers how much of each is missing now. One
 * statement for buckets of every policy: a token in the table is a second of refilling, 0 is a full bucket, and
 * what is below it is missing. Rows are locked in the order of their names, so two of these never wait in a circle.
 * A row of a time that is yet to come is one of a clock that was set back: it refills from now on, and not only
 * once that time has come.
 */
export async function exchangeTaken(sql: Sql, taken: readonly Taken[]): Promise<Map<string, number>> {
  const rows = await sql<{ name: string; tokens: number }[]>`
    INSERT INTO rate_bucket AS b (name, tokens, updated_at)
    SELECT t.name, -t.taken, now()
    FROM unnest(${taken.map(({ name }) => name)}::text[], ${taken.map(({ takenSeconds }) => takenSeconds)}::float8[])
      AS t (name, taken)
    ORDER BY t.name
    ON CONFLICT (name) DO UPDATE SET
      tokens = LEAST(0, b.tokens + GREATEST(0, EXTRACT(EPOCH FROM excluded.updated_at - b.updated_at)))
        + excluded.tokens,
      updated_at = CASE WHEN b.updated_at > excluded.updated_at + make_interval(secs => ${CLOCK_SLACK_SECONDS})
        THEN excluded.updated_at ELSE GREATEST(b.updated_at, excluded.updated_at) END
    RETURNING name, tokens`;
  return new Map(rows.map(({ name, tokens }) => [name, -tokens]));
}

const PRUNED_MAX = 10_000;

/** Forgets buckets that have been full for a minute: an absent row is a full bucket. */
export async function pruneBuckets(sql: Sql): Promise<number> {
  const { count } = await sql`
    DELETE FROM rate_bucket WHERE name IN (
      SELECT name FROM rate_bucket
      WHERE updated_at + make_interval(secs => 60 - tokens) < now()
      LIMIT ${PRUNED_MAX})
    AND updated_at + make_interval(secs => 60 - tokens) < now()`;
  return count;
}
