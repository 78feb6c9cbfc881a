import { type Listing, toListingJson } from '../catalog/index.ts';
import type { GatewayDeps } from './deps.ts';

/** The version log, as far as it takes to know whether a leaf is under a signed checkpoint. */
export type LogReader = Pick<GatewayDeps, 'catalog'> & {
  logs?: { versions: { findCheckpoint(): Promise<{ treeSize: number } | undefined> } } | undefined;
};

/** One listed server as it is told, verified or not. */
export async function tellListing(deps: LogReader, listing: Listing): Promise<Record<string, unknown>> {
  return toListingJson(listing, { isLogged: await isLogged(deps, listing) });
}

/** Whether a signed checkpoint covers the leaf of a signed version; of any other nobody asks. */
async function isLogged({ logs }: LogReader, { version }: Listing): Promise<boolean> {
  if (!version.signature || !logs) return false;
  const newest = await logs.versions.findCheckpoint();
  return newest !== undefined && newest.treeSize > Number(version.logIndex);
}
