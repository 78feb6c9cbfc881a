import type { Yanked } from '../catalog/index.ts';
import { toUnixSeconds } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import { withTransaction } from '../db/index.ts';
import type { Principal } from '../keys/index.ts';
import { appendLeaf } from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';
import { requirePublisher } from './publish.ts';

/** Takes a version of a publisher's own server back: the row and its leaf are one commit. Safe to repeat. */
export async function yank(
  deps: Pick<GatewayDeps, 'sql' | 'clock' | 'catalog'>,
  principal: Principal,
  { serverId, version }: { serverId: Uuid; version: string },
): Promise<Yanked> {
  const publisherId = requirePublisher(principal);
  const yanked = await withTransaction(deps.sql, (tx) =>
    deps.catalog.yank(tx, {
      ...{ serverId, version, publisherId, yankedAt: deps.clock.now() },
      appendLeaf: (leaf) =>
        appendLeaf(tx, {
          kind: 'yank',
          ...{ tool: leaf.name, version: leaf.version, publisher: leaf.publisherId },
          time: toUnixSeconds(leaf.yankedAt),
        }),
    }),
  );
  deps.catalog.forget(serverId);
  return yanked;
}
