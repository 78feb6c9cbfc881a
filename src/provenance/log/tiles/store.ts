import { invariant } from '../../../core/invariant.ts';
import type { Queryable, Tx } from '../../../db/index.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import type { TileGrowth } from './grow.ts';
import { keyOf } from './nodes.ts';
import type { TilePlace } from './tile.ts';

/** The tiles at these places, in one statement; one that is not there is left out. */
export async function findTiles(
  sql: Queryable,
  log: number,
  places: readonly TilePlace[],
): Promise<Map<string, Buffer>> {
  const levels = places.map(({ level }) => level);
  const ns = places.map(({ n }) => String(n));
  const rows = await sql<{ level: number; n: bigint; data: Buffer }[]>`
    SELECT t.level, t.n, t.data FROM unnest(${levels}::int[], ${ns}::bigint[]) AS p(level, n)
    JOIN log_tile t ON t.log = ${log} AND t.level = p.level AND t.n = p.n`;
  return new Map(rows.map(({ level, n, data }) => [keyOf({ level, n: Number(n) }), data]));
}

/** Makes tiles wider, each from exactly the width it is said to have; a tile that differs stops the transaction. */
export async function widenTiles(tx: Tx, log: number, growth: readonly TileGrowth[]): Promise<void> {
  const levels = growth.map(({ level }) => level);
  const ns = growth.map(({ n }) => String(n));
  const hashes = growth.map((tile) => Buffer.concat(tile.hashes).toString('hex'));
  const rows = await tx<{ level: number; n: bigint; bytes: number }[]>`
    INSERT INTO log_tile AS t (log, level, n, data)
    SELECT ${log}::smallint, g.level, g.n, decode(g.hashes, 'hex')
    FROM unnest(${levels}::int[], ${ns}::bigint[], ${hashes}::text[]) AS g(level, n, hashes)
    ON CONFLICT (log, level, n) DO UPDATE SET data = t.data || EXCLUDED.data
    RETURNING level, n, octet_length(data) AS bytes`;
  const bytes = new Map(rows.map((row) => [keyOf({ level: row.level, n: Number(row.n) }), row.bytes]));
  for (const tile of growth) {
    const width = tile.width + tile.hashes.length;
    invariant(bytes.get(keyOf(tile)) === width * HASH_BYTES, `tile ${keyOf(tile)} is ${width} hashes wide`);
  }
}
