import { isAnswering, type Sql } from '../db/index.ts';
import type { WiredExecution } from './execution.ts';
import type { WiredProvenance } from './provenance.ts';
import type { WiredRail } from './wired-rail.ts';

type Watched = {
  sql: Sql;
  wired: WiredExecution;
  provenance: WiredProvenance;
  rails: readonly WiredRail[];
};

/**
 * What `/ready` tells of this process, with a line for each part that can be down by itself. Nobody is refused
 * there: a flood of it asks the database one question at a time.
 */
export async function readReadiness(
  { sql, wired, provenance, rails }: Watched,
  isDraining: () => boolean,
): Promise<{ isReady: boolean; checks: Record<string, string> }> {
  const database = (await isAnswering(sql)) ? 'ok' : 'down';
  const sandbox = await wired.execution.status();
  const isReady = database === 'ok' && !isDraining();
  return {
    isReady,
    checks: {
      database,
      // Without a sandbox hosted calls answer 503; everything else works, so the gateway stays in service.
      sandbox: sandbox.kind === 'ready' ? 'ok' : sandbox.detail,
      ...wired.health(),
      // A log that diverged is an alarm and no reason to stop selling: what was signed stays provable.
      ...provenance.health(),
      ...Object.assign({}, ...rails.map(({ health }) => health?.() ?? {})),
      ...(isDraining() ? { draining: 'yes' } : {}),
    },
  };
}
