import { type Published, type Submission, toCode, type VersionLeaf } from '../catalog/index.ts';
import { toUnixSeconds } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { type Tx, withTransaction } from '../db/index.ts';
import { DEFAULT_LIMITS, type Inspection, type ToolDefinition } from '../execution/index.ts';
import { hasScope, type Principal } from '../keys/index.ts';
import { appendLeaf } from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';

export type PublishInput = {
  submission: Submission;
  /** The server a new version is for; none lists a new server. */
  serverId: Uuid | undefined;
};

export type PublishAnswer = Published & { submission: Submission; tools: readonly ToolDefinition[] };

/**
 * Lists what a publisher's code really offers: the code runs once in the sandbox, its own `tools/list` is what
 * is listed, and the version exists once its leaf is in the log, all in one commit.
 */
export async function publish(
  deps: GatewayDeps,
  principal: Principal,
  input: PublishInput,
): Promise<PublishAnswer> {
  const publisherId = requirePublisher(principal);
  const { submission, serverId } = input;
  const intent = { publisherId, submission, ...(serverId === undefined ? {} : { serverId }) };
  const plan = await deps.catalog.plan(intent);
  if (plan.kind === 'unchanged') {
    const listing = await deps.catalog.findListing(plan.published.serverId, submission.version);
    return { ...plan.published, submission, tools: listing?.tools ?? [] };
  }
  const { tools, face } = await inspect(deps, submission);
  const published = await withTransaction(deps.sql, async (tx) => {
    await deps.ledger.openPublisher(tx, publisherId);
    await deps.catalog.ensurePublisher(tx, publisherId);
    const publication = {
      ...{ publisherId, submission, tools, face, publishedAt: deps.clock.now() },
      ...{ rootSha256: null, layerSha256: null },
      appendLeaf: (leaf: VersionLeaf) => appendToLog(deps, tx, leaf),
    };
    return serverId === undefined
      ? deps.catalog.publishServer(tx, publication)
      : deps.catalog.publishVersion(tx, { ...publication, serverId });
  });
  deps.catalog.forget(published.serverId);
  return { ...published, submission, tools };
}

function requirePublisher(principal: Principal): Uuid {
  if (hasScope(principal, 'publish') && principal.publisherId) return principal.publisherId;
  throw new Problem('forbidden', {
    detail: 'Publishing needs a publisher\'s key: sign up with {"role":"publisher"}.',
    isUncharged: true,
  });
}

async function inspect(deps: GatewayDeps, submission: Submission): Promise<Listed> {
  const status = await deps.execution.status();
  if (status.kind === 'unavailable') {
    throw new Problem('unavailable', { detail: status.detail, retryAfterSeconds: 60 });
  }
  const bound = AbortSignal.timeout(INSPECT_BOUND_MS);
  const inspection = await deps.execution.inspect(
    { server: { kind: 'hosted', code: toCode(submission), limits: DEFAULT_LIMITS, hosts: [] } },
    bound,
  );
  if (inspection.kind === 'listed') return inspection;
  throw new Problem('invalid-code', { detail: inspection.detail, members: { stderr: inspection.stderr } });
}

type Listed = Extract<Inspection, { kind: 'listed' }>;

const INSPECT_BOUND_MS = 60_000;

function appendToLog(deps: GatewayDeps, tx: Tx, leaf: VersionLeaf): Promise<bigint> {
  return appendLeaf(tx, {
    tool: leaf.name,
    version: leaf.version,
    sha256: leaf.codeSha256,
    manifest: leaf.toolsHash,
    publisher: leaf.publisherId,
    time: toUnixSeconds(deps.clock.now()),
  });
}
