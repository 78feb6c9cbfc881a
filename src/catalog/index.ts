export { readUpload } from './archives/upload.ts';
export { type Catalog, type CatalogDeps, createCatalog } from './catalog.ts';
export type { CodeOf } from './code-loader.ts';
export { endpointFiles } from './endpoint.ts';
export { createLayers, type Layers } from './layers/layers.ts';
export type { Listing, ListingSummary, Server, ServerTier, Version } from './listing.ts';
export { type Hosting, toHostingJson, toListingJson, toSummaryJson, toVersionJson } from './listing-json.ts';
export { type Manifest, type ReleaseSignature, readManifest, writeManifest } from './manifest.ts';
export { listOwnedServers, type OwnedServer } from './owned/store.ts';
export {
  type FreeAllowance,
  type PriceList,
  readPriceList,
  type SettlePolicy,
  toPricingJson,
} from './price-list.ts';
export {
  type Plan,
  type Publication,
  type Published,
  runtimeOf,
  toCode,
  type VersionLeaf,
} from './publish.ts';
export { hashTools } from './rows.ts';
export type { Sort } from './search/cursor.ts';
export type { SearchInput, SearchPage } from './search/search.ts';
export {
  type HostedSubmission,
  type Language,
  parseSubmission,
  type RemoteSubmission,
  type Submission,
  type SubmissionRules,
} from './submission.ts';
export type { Yanked, YankLeaf } from './yank/yank.ts';
