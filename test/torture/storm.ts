import type { Attempt } from '../e2e/rail-faults/storm/clients.ts';
import type { Wallet } from './actors/payments.ts';
import type { Counts } from './counts.ts';
import type { Model } from './model/model.ts';
import type { Wire } from './world/http.ts';
import type { Shops } from './world/shops.ts';
import type { World } from './world/world.ts';

/** A storm under way: what it goes over, what is known of it, and what it has counted. */
export type Storm = {
  world: World;
  wire: Wire;
  model: Model;
  shops: Shops;
  wallets: readonly Wallet[];
  /** Everything that was paid for on a rail. */
  attempts: Attempt[];
  /** Of those, whose payment somebody else brought to its chain, and by when that had been tried. */
  broadcasts: Map<Attempt, Promise<void>>;
  counts: Counts;
};
