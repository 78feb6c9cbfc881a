import { Hono } from 'hono';
import { z } from 'zod';
import { toIsoText } from '../../core/clock.ts';
import { Problem } from '../../core/problem.ts';
import type { Anchor, Anchors, AnchorTargetStatus } from '../../provenance/index.ts';
import { describeIssues } from '../body.ts';
import type { App, Env } from '../env.ts';

const querySchema = z.strictObject({
  log: z.enum(['versions', 'receipts']).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(20),
});

/** Which roots of the logs are on which chains. */
export function anchorRoutes(deps: { anchors: Anchors }): App {
  const app = new Hono<Env>();
  app.get('/anchors', async (c) => {
    const query = querySchema.safeParse(c.req.query());
    if (!query.success) throw new Problem('malformed-request', { detail: describeIssues(query.error) });
    const { log, limit } = query.data;
    const [anchors, targets] = await Promise.all([
      deps.anchors.list({ rowsMax: limit, ...(log && { log }) }),
      deps.anchors.status(),
    ]);
    return c.json({
      ok: true,
      anchors: anchors.map(toFields),
      targets: targets.filter((target) => log === undefined || target.log === log).map(toTargetFields),
    });
  });
  return app;
}

function toFields({ mined, evidence, ...anchor }: Anchor): object {
  return {
    ...{ log: anchor.log, chain_id: anchor.chainId, contract: anchor.contract, state: anchor.state },
    ...{ prev_size: anchor.prevSize, tree_size: anchor.treeSize, root: `0x${anchor.root.toString('hex')}` },
    ...{ anchor_index: mined?.anchorIndex ?? null, tx_hash: mined?.txHash ?? null },
    ...{ block_number: mined?.blockNumber ?? null, block_hash: mined?.blockHash ?? null },
    time: mined ? toIsoText(new Date(mined.blockTime * 1_000)) : null,
    has_state_proof: evidence !== undefined,
  };
}

function toTargetFields({ health, anchoredAt, ...target }: AnchorTargetStatus): object {
  return {
    ...{ log: target.log, chain_id: target.chainId, contract: target.contract },
    ...{ anchored_size: target.anchoredSize, anchored_at: anchoredAt ? toIsoText(anchoredAt) : null },
    state: health.kind,
    ...(health.kind === 'ok' ? {} : { detail: health.detail }),
  };
}
