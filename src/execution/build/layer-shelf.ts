/** A layer that is stored where every gateway finds it. */
export type StoredLayer = {
  /** Of its archive, hex. */
  sha256: string;
  /** Of its archive. */
  bytes: number;
};

/** Where built layers are kept: the catalog's, as a build sees it. */
export type LayerShelf = {
  /** The layer that this recipe made before; from now on it counts as just used. */
  findByRecipe(recipeHash: string): Promise<StoredLayer | undefined>;
  /** Stores what a recipe made. Of several that made it at once all are given the same one. */
  keep(input: { recipeHash: string; archive: Uint8Array }): Promise<StoredLayer>;
};
