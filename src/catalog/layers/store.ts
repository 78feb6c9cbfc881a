import type { Queryable, Sql, Tx } from '../../db/index.ts';
import type { catalogLayer } from './schema.ts';

type LayerRow = Pick<typeof catalogLayer.$inferSelect, 'sha256' | 'size'>;

export async function findLayer(sql: Queryable, sha256: string): Promise<LayerRow | undefined> {
  const [row] = await sql<LayerRow[]>`SELECT sha256, size FROM catalog_layer WHERE sha256 = ${sha256}`;
  return row;
}

/** The layer of a recipe, which is noted as used. */
export async function useRecipe(
  sql: Queryable,
  use: { recipeHash: string; usedAt: Date },
): Promise<LayerRow | undefined> {
  const [row] = await sql<LayerRow[]>`
    UPDATE catalog_layer_recipe AS recipe SET used_at = greatest(recipe.used_at, ${use.usedAt})
    FROM catalog_layer AS layer
    WHERE recipe.recipe_hash = ${use.recipeHash} AND layer.sha256 = recipe.sha256
    RETURNING layer.sha256, layer.size`;
  return row;
}

/** Again and again without harm: a part is named by what it is a part of. Its time is that of the last attempt. */
export async function insertPart(
  sql: Queryable,
  part: { sha256: string; number: number; content: Buffer; createdAt: Date },
): Promise<void> {
  await sql`
    INSERT INTO catalog_layer_part (sha256, number, content, created_at)
    VALUES (${part.sha256}, ${part.number}, ${part.content}, ${part.createdAt})
    ON CONFLICT (sha256, number) DO UPDATE SET created_at = EXCLUDED.created_at`;
}

export async function insertLayer(tx: Tx, row: LayerRow & { createdAt: Date }): Promise<void> {
  await tx`
    INSERT INTO catalog_layer (sha256, size, created_at)
    VALUES (${row.sha256}, ${row.size}, ${row.createdAt})
    ON CONFLICT (sha256) DO NOTHING`;
}

/** Does nothing when the recipe has its layer already. */
export async function insertRecipe(
  tx: Tx,
  row: { recipeHash: string; sha256: string; createdAt: Date },
): Promise<void> {
  await tx`
    INSERT INTO catalog_layer_recipe (recipe_hash, sha256, created_at, used_at)
    VALUES (${row.recipeHash}, ${row.sha256}, ${row.createdAt}, ${row.createdAt})
    ON CONFLICT (recipe_hash) DO NOTHING`;
}

export async function findPart(sql: Sql, sha256: string, number: number): Promise<Buffer | undefined> {
  const [row] = await sql<{ content: Buffer }[]>`
    SELECT content FROM catalog_layer_part WHERE sha256 = ${sha256} AND number = ${number}`;
  return row?.content;
}

/** Layers that no version has and that no build has used since then; answers how many. */
export async function deleteUnused(tx: Tx, unusedSince: Date): Promise<number> {
  const gone = await tx<{ sha256: string }[]>`
    SELECT layer.sha256 FROM catalog_layer AS layer
    WHERE layer.created_at < ${unusedSince}
      AND NOT EXISTS (SELECT 1 FROM catalog_version WHERE layer_sha256 = layer.sha256)
      AND NOT EXISTS (
        SELECT 1 FROM catalog_layer_recipe AS recipe
        WHERE recipe.sha256 = layer.sha256 AND recipe.used_at >= ${unusedSince})
    FOR UPDATE`;
  const names = gone.map(({ sha256 }) => sha256);
  await tx`DELETE FROM catalog_layer_recipe WHERE sha256 = ANY(${names}::text[])`;
  await tx`DELETE FROM catalog_layer WHERE sha256 = ANY(${names}::text[])`;
  return names.length;
}

/** Parts of layers that are gone, or that never came to be. */
export async function deleteStrayParts(sql: Queryable, writtenBefore: Date): Promise<number> {
  const { count } = await sql`
    DELETE FROM catalog_layer_part AS part
    WHERE part.created_at < ${writtenBefore}
      AND NOT EXISTS (SELECT 1 FROM catalog_layer WHERE sha256 = part.sha256)`;
  return count;
}
