export { type Catalog, createCatalog } from './catalog.ts';
export type { CodeOf } from './code-loader.ts';
export type { Listing, ListingSummary, Server, ServerTier, Version } from './listing.ts';
export { toListingJson, toSummaryJson } from './listing-json.ts';
export {
  type FreeAllowance,
  type PriceList,
  readPriceList,
  type SettlePolicy,
  toPricingJson,
} from './price-list.ts';
export { type Plan, type Publication, type Published, toCode, type VersionLeaf } from './publish.ts';
export type { Sort } from './search/cursor.ts';
export type { SearchInput, SearchPage } from './search/search.ts';
export { parseSubmission, type Submission } from './submission.ts';
export { submissionSchema } from './submission-schema.ts';
