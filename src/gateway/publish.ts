import type { Published, Submission, VersionLeaf } from '../catalog/index.ts';
import { toUnixSeconds } from '../core/clock.ts';
import { type Uuid, uuidFrom } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import { type Tx, withTransaction } from '../db/index.ts';
import type { ToolDefinition } from '../execution/index.ts';
import { hasScope, type Principal } from '../keys/index.ts';
import { appendLeaf } from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';
import { type Examined, examineEndpoint, examineHosted, examineSignature } from './examine.ts';

export type PublishInput = {
  submission: Submission;
  /** The server a new version is for; none lists a new server. */
  serverId: Uuid | undefined;
};

export type PublishAnswer = Published &
  Pick<Examined, 'rootSha256' | 'buildLog'> & {
    submission: Submission;
    tools: readonly ToolDefinition[];
    layerSha256: string | null;
  };

/**
 * Lists what a publisher's server really offers: it runs once, in the sandbox or where its publisher has it, its own
 * `tools/list` is what is listed, and the version exists once its leaf is in the log, all in one commit.
 */
export async function publish(
  deps: GatewayDeps,
  principal: Principal,
  input: PublishInput,
  signal: AbortSignal,
): Promise<PublishAnswer> {
  const publisherId = requirePublisher(principal);
  const { submission, serverId } = input;
  const plan = await deps.catalog.plan({ publisherId, submission, serverId });
  if (plan.kind === 'unchanged') return describePublished(deps, submission, plan.published);
  // Before anything runs for a release that would be refused.
  await examineSignature(deps, { publisherId, submission, at: deps.clock.now() });
  const promisedId = serverId ?? promiseId(publisherId, submission);
  const examined =
    submission.tier === 'pro'
      ? await examineEndpoint(deps, { publisherId, submission, serverId: promisedId }, signal)
      : await examineHosted(deps, { publisherId, submission }, signal);
  const { tools, face, rootSha256, layer, buildLog } = examined;
  const published = await withTransaction(deps.sql, async (tx) => {
    await deps.ledger.openPublisher(tx, publisherId);
    await deps.catalog.ensurePublisher(tx, publisherId);
    const publishedAt = deps.clock.now();
    const publication = {
      ...{ publisherId, submission, tools, face, rootSha256, layer },
      publishedAt,
      // Once more, because the key may have ended while the server was looked at.
      signature: await examineSignature(deps, { publisherId, submission, at: publishedAt, tx }),
      appendLeaf: (leaf: VersionLeaf) => logVersion(tx, leaf),
    };
    return serverId === undefined
      ? deps.catalog.publishServer(tx, { ...publication, serverId: promisedId })
      : deps.catalog.publishVersion(tx, { ...publication, serverId });
  });
  deps.catalog.forget(published.serverId);
  return { ...published, submission, tools, rootSha256, layerSha256: layer?.sha256 ?? null, buildLog };
}

/** The same publication again answers what the first one came to. */
async function describePublished(
  deps: GatewayDeps,
  submission: Submission,
  published: Published,
): Promise<PublishAnswer> {
  const listing = await deps.catalog.findListing(published.serverId, submission.version);
  invariant(listing, `version ${published.versionId} was published`);
  const { rootSha256, layerSha256 } = listing.version;
  return { ...published, submission, tools: listing.tools, rootSha256, layerSha256, buildLog: undefined };
}

/**
 * The id of a server before it is listed. A publisher's own server judges tokens by it (their audience), so its
 * publisher must be able to know it before the first request comes.
 */
function promiseId(publisherId: Uuid, submission: Submission): Uuid {
  return uuidFrom('server', publisherId, submission.name);
}

export function requirePublisher(principal: Principal): Uuid {
  if (hasScope(principal, 'publish') && principal.publisherId) return principal.publisherId;
  throw new Problem('forbidden', {
    detail: 'Publishing needs a publisher\'s key: sign up with {"role":"publisher"}.',
    isUncharged: true,
  });
}

/** Puts a publication into the version log, last in its transaction. */
export function logVersion(tx: Tx, leaf: VersionLeaf): Promise<bigint> {
  return appendLeaf(tx, {
    kind: 'publish',
    tool: leaf.name,
    version: leaf.version,
    sha256: leaf.codeSha256,
    manifest: leaf.manifestSha256,
    publisher: leaf.publisherId,
    time: toUnixSeconds(leaf.publishedAt),
  });
}
