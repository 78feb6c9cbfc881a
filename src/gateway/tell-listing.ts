import { type Listing, toListingJson } from '../catalog/index.ts';
import type { GatewayDeps } from './deps.ts';

type ListingDeps = Pick<GatewayDeps, 'logs'>;

/** One listed server as it is told, verified or not. */
export async function tellListing(deps: ListingDeps, listing: Listing): Promise<Record<string, unknown>> {
  return toListingJson(listing, { isLogged: await isLogged(deps, listing) });
}

/** Whether a signed checkpoint covers the leaf of a signed version; of any other nobody asks. */
async function isLogged({ logs }: ListingDeps, { version }: Listing): Promise<boolean> {
  if (!version.signature) return false;
  const newest = await logs.versions.findCheckpoint();
  return newest !== undefined && newest.treeSize > Number(version.logIndex);
}
