/** A piece of source text and what stands in its place, for as long as one gateway process runs. */
export type Piece = { file: string; find: string; replace: string; times?: number };

/** A defect put in on purpose, and the rules of the audit of which at least one has to notice it. */
export type Mutant = { what: string; pieces: readonly Piece[]; caughtBy: readonly string[] };
