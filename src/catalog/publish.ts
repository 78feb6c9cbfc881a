import { archiveHash, writeArchive } from '../core/archive.ts';
import { sha256Hex } from '../core/bytes.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { newUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import type { Queryable, Tx } from '../db/index.ts';
import type { Code, Layer, Runtime } from '../execution/backend.ts';
import type { ServerFace as McpFace } from '../execution/exchange.ts';
import type { ToolDefinition } from '../execution/outcome.ts';
import { refuseOverAllotment, takeAllotment } from './allotment.ts';
import type { ServerTier } from './listing.ts';
import { type ReleaseSignature, writeManifest } from './manifest.ts';
import { hashMetadata } from './metadata-hash.ts';
import { refuseUnknownTools, toPricingJson } from './price-list.ts';
import { hashTools, toPriceList } from './rows.ts';
import { wordsOf } from './search/words.ts';
import { namespaceOf } from './server-name.ts';
import {
  claimNamespace,
  countNamespaces,
  findNamespaceOwner,
  findPriceList,
  findServerId,
  findServerOf,
  findVersionKeys,
  insertCode,
  insertPriceList,
  insertServer,
  insertVersion,
  lockPublisher,
  lockServer,
  type ServerFace,
  updateServer,
  type VersionKeyRow,
} from './store.ts';
import type { HostedSubmission, Language, Submission } from './submission.ts';
import { compareVersions } from './version-number.ts';

/** What the version log is told of a publication. */
export type VersionLeaf = {
  name: string;
  version: string;
  codeSha256: string;
  manifestSha256: string;
  publisherId: Uuid;
  publishedAt: Date;
};

export type Publication = {
  /** The server a new version is for; of a new server the id that it was promised, if it was. */
  serverId?: Uuid | undefined;
  publisherId: Uuid;
  submission: Submission;
  /** What the code itself answered to `tools/list`. */
  tools: readonly ToolDefinition[];
  /** What it said of itself, and what it ran on. */
  face: McpFace;
  rootSha256: string | null;
  layer: { sha256: string; bytes: number } | undefined;
  /** What the submission's signature verified as; undefined when it has none. */
  signature?: ReleaseSignature | undefined;
  publishedAt: Date;
  /** Called last, in the same transaction: the log stays locked until it commits. */
  appendLeaf(leaf: VersionLeaf): Promise<bigint>;
};

export type Published = {
  serverId: Uuid;
  versionId: Uuid;
  codeSha256: string;
  logIndex: bigint;
  isNewServer: boolean;
  /** False when exactly this was published before, and nothing was done. */
  isNewVersion: boolean;
};

/** What publishing would do; a conflict that is plain already is thrown instead. */
export type Plan =
  | { kind: 'new-server' }
  | { kind: 'new-version' }
  | { kind: 'unchanged'; published: Published };

type Intent = { publisherId: Uuid; submission: Submission };

/** A squatter should need more than one publisher. */
const NAMESPACES_MAX = 10;

const RUNTIMES = { python: 'python', node: 'node', go: 'elf' } as const satisfies Record<Language, Runtime>;

/** What starts code of a language. */
export function runtimeOf(language: Language): Runtime {
  return RUNTIMES[language];
}

/** The code of a submission as the sandbox runs it. */
export function toCode(
  { files, language, entrypoint }: HostedSubmission,
  on: { layer: Layer | undefined; rootSha256: string | undefined },
): Code {
  const archive = writeArchive(files);
  return { sha256: sha256Hex(archive), runtime: runtimeOf(language), entrypoint, archive, ...on };
}

/** Looks, without a lock, whether a publication could succeed: before the sandbox runs for nothing. */
export async function planPublication(
  sql: Queryable,
  intent: Intent & { serverId?: Uuid | undefined; now: Date },
): Promise<Plan> {
  const { submission, publisherId, serverId, now } = intent;
  if (serverId === undefined) {
    const owner = await findNamespaceOwner(sql, namespaceOf(submission.name));
    if (owner === undefined) await refuseSquatting(sql, publisherId);
    else refuseNamespace(submission.name, { owner, publisherId });
    const taken = await findServerId(sql, submission.name);
    if (taken !== undefined) throw refuseTaken(submission.name, taken);
    await refuseOverAllotment(sql, { publisherId, now, bytes: 0 });
    return { kind: 'new-server' };
  }
  refuseOther(await findServerOf(sql, { id: serverId, publisherId }), submission);
  const published = await findPublished(sql, { serverId, submission });
  if (published) return { kind: 'unchanged', published };
  await refuseOverAllotment(sql, { publisherId, now, bytes: 0 });
  return { kind: 'new-version' };
}

/** Lists a new server. Its name is taken by the first to commit; the first use of a namespace claims it. */
export async function publishServer(tx: Tx, publication: Publication): Promise<Published> {
  const { publisherId, submission, tools } = publication;
  refuseUnknownTools(
    submission.pricing,
    tools.map(({ name }) => name),
  );
  await takeNamespace(tx, publication);
  const [serverId, versionId] = [publication.serverId ?? newUuid(), newUuid()];
  const { name, tier } = submission;
  const face = toFace(publication, versionId);
  if (!(await insertServer(tx, { ...face, id: serverId, name, tier, publisherId }))) {
    // A statement of its own: the insert waited for its racer, and only a new snapshot sees that row.
    throw refuseTaken(name, await findServerId(tx, name));
  }
  return { ...(await appendVersion(tx, publication, { serverId, versionId })), isNewServer: true };
}

/** Adds a version to a publisher's own server; the very same publication again answers what is there. */
export async function publishVersion(
  tx: Tx,
  publication: Publication & { serverId: Uuid },
): Promise<Published> {
  const { publisherId, submission, tools, serverId } = publication;
  refuseUnknownTools(
    submission.pricing,
    tools.map(({ name }) => name),
  );
  await admitPublisher(tx, publisherId);
  refuseOther(await lockServer(tx, { id: serverId, publisherId }), submission);
  const published = await findPublished(tx, { serverId, submission });
  if (published) return published;
  const versionId = newUuid();
  await updateServer(tx, serverId, toFace(publication, versionId));
  return { ...(await appendVersion(tx, publication, { serverId, versionId })), isNewServer: false };
}

/** The version row comes after its leaf because it names the leaf, and rows never change. */
async function appendVersion(
  tx: Tx,
  publication: Publication,
  ids: { serverId: Uuid; versionId: Uuid },
): Promise<Omit<Published, 'isNewServer'>> {
  const { publisherId, submission, tools, face, rootSha256, layer, publishedAt } = publication;
  const isHosted = submission.tier === 'hobbyist';
  const archive = writeArchive(submission.files);
  const code = { sha256: sha256Hex(archive), archive };
  const toolsHash = hashTools(tools);
  await takeAllotment(tx, { publisherId, now: publishedAt, code, layer });
  await insertCode(tx, { ...code, createdAt: publishedAt });
  await appendPrices(tx, publication, ids.serverId);
  const manifest = toManifest(publication, { codeSha256: code.sha256, toolsHash });
  const logIndex = await publication.appendLeaf({
    ...{ name: submission.name, version: submission.version, publisherId, publishedAt },
    ...{ codeSha256: code.sha256, manifestSha256: sha256Hex(manifest) },
  });
  await insertVersion(tx, {
    id: ids.versionId,
    serverId: ids.serverId,
    version: submission.version,
    codeSha256: code.sha256,
    runtime: isHosted ? runtimeOf(submission.language) : null,
    entrypoint: submission.entrypoint,
    ...{ rootSha256, layerSha256: layer?.sha256 ?? null, face, limits: submission.limits },
    hosts: isHosted ? submission.hosts : [],
    endpointUrl: isHosted ? null : submission.endpointUrl,
    tools,
    toolNames: tools.map(({ name }) => name),
    toolsHash,
    metadataHash: hashMetadata(submission),
    changelog: submission.changelog,
    ...{ manifest, isDeterministic: isDeterministic(submission), ...toSignatureColumns(publication) },
    logIndex,
    createdAt: publishedAt,
  });
  return { ...ids, codeSha256: code.sha256, logIndex, isNewVersion: true };
}

function toManifest(
  { submission, rootSha256, layer, signature }: Publication,
  hashes: { codeSha256: string; toolsHash: string },
): string {
  const isHosted = submission.tier === 'hobbyist';
  const { name, version, tier, entrypoint, limits } = submission;
  return writeManifest({
    ...{ name, version, tier, entrypoint, limits, rootSha256, layerSha256: layer?.sha256 ?? null },
    ...hashes,
    runtime: isHosted ? runtimeOf(submission.language) : null,
    hosts: isHosted ? submission.hosts : [],
    endpointUrl: isHosted ? null : submission.endpointUrl,
    isDeterministic: isDeterministic(submission),
    signature: signature ?? null,
  });
}

function isDeterministic(submission: Submission): boolean {
  return submission.tier === 'hobbyist' && submission.isDeterministic === true;
}

function toSignatureColumns({ submission, signature: verified }: Publication) {
  const { signature } = submission;
  invariant((signature === undefined) === (verified === undefined), 'a signature is stored once it verified');
  if (signature === undefined || verified === undefined) {
    return { signature: null, signatureFormat: null, signatureKeyId: null };
  }
  return { signature, signatureFormat: verified.format, signatureKeyId: verified.keyId };
}

async function appendPrices(tx: Tx, publication: Publication, serverId: Uuid): Promise<void> {
  const prices = toPricingJson(publication.submission.pricing);
  const stored = await findPriceList(tx, serverId);
  const current = stored && toPricingJson(toPriceList(stored));
  if (current && canonicalJson(current) === canonicalJson(prices)) return;
  await insertPriceList(tx, {
    ...{ id: newUuid(), serverId, model: prices.model, tools: prices.tools },
    free: prices.free ?? null,
    settle: prices.settle ?? 'after-run',
    amountMcents: publication.submission.pricing.amount,
    createdAt: publication.publishedAt,
  });
}

async function takeNamespace(tx: Tx, { publisherId, submission, publishedAt }: Publication): Promise<void> {
  await admitPublisher(tx, publisherId);
  const namespace = namespaceOf(submission.name);
  if ((await findNamespaceOwner(tx, namespace)) === undefined) {
    await refuseSquatting(tx, publisherId);
    await claimNamespace(tx, { namespace, publisherId, createdAt: publishedAt });
  }
  refuseNamespace(submission.name, { owner: await findNamespaceOwner(tx, namespace), publisherId });
}

/** One publication of a publisher at a time, so that what it may still publish is counted right. */
async function admitPublisher(tx: Tx, publisherId: Uuid): Promise<void> {
  invariant(await lockPublisher(tx, publisherId), `no publisher ${publisherId}`);
}

async function refuseSquatting(sql: Queryable, publisherId: Uuid): Promise<void> {
  if ((await countNamespaces(sql, publisherId)) < NAMESPACES_MAX) return;
  throw new Problem('forbidden', {
    detail: `name: you hold ${NAMESPACES_MAX} publisher names already, the most one publisher may. Use one of them.`,
  });
}

function refuseNamespace(name: string, is: { owner: Uuid | undefined; publisherId: Uuid }): void {
  if (is.owner === is.publisherId) return;
  throw new Problem('forbidden', {
    detail: `name: "${namespaceOf(name)}" belongs to another publisher. Choose a publisher name of your own.`,
  });
}

function refuseTaken(name: string, id: Uuid | undefined): Problem {
  return new Problem('conflict', {
    detail: `name: "${name}" is listed already. Publish a new version with PUT /mcp/${id}, or choose another name.`,
    members: { id },
  });
}

/** Someone else's server is as unknown as one that never was. */
function refuseOther(server: { name: string; tier: ServerTier } | undefined, submission: Submission): void {
  if (!server) throw new Problem('not-found', { detail: 'You have no server with this id.' });
  if (server.tier !== submission.tier) {
    throw new Problem('conflict', {
      detail: `tier: this server is "${server.tier}", and what its publisher earns of a call never changes. Send that tier, or list a new server.`,
    });
  }
  if (server.name === submission.name) return;
  throw new Problem('conflict', {
    detail: `name: this server is "${server.name}", and names never change. Send that name, or list a new server.`,
  });
}

/**
 * What is there already when this very version was published before. Every version came after the one before
 * it, so the newest is the greatest, and a new one need only be greater than that.
 */
async function findPublished(
  sql: Queryable,
  { serverId, submission }: { serverId: Uuid; submission: Submission },
): Promise<Published | undefined> {
  const { latest, same } = await findVersionKeys(sql, { serverId, version: submission.version });
  invariant(latest, `server ${serverId} has no version`);
  if (same?.isYanked) {
    throw new Problem('conflict', {
      detail: `version: ${same.version} was yanked, which is for good. Choose a greater one.`,
      members: { latest_version: latest.version },
    });
  }
  if (same) return refuseDifference(same, { serverId, submission });
  if (compareVersions(submission.version, latest.version) > 0) return undefined;
  throw new Problem('conflict', {
    detail: `version: ${submission.version} does not come after ${latest.version}, the newest. Choose a greater one.`,
    members: { latest_version: latest.version },
  });
}

function refuseDifference(
  same: VersionKeyRow,
  { serverId, submission }: { serverId: Uuid; submission: Submission },
): Published {
  const isSameCode = same.codeSha256 === archiveHash(submission.files);
  if (isSameCode && same.metadataHash === hashMetadata(submission)) {
    const { id: versionId, codeSha256, logIndex } = same;
    return { serverId, versionId, codeSha256, logIndex, isNewServer: false, isNewVersion: false };
  }
  throw new Problem('conflict', {
    detail: `version: ${same.version} is published with other ${isSameCode ? 'metadata' : 'code'}, and a version never changes. Choose a greater one.`,
  });
}

function toFace({ submission, tools, publishedAt }: Publication, versionId: Uuid): ServerFace {
  return {
    description: submission.description,
    category: submission.category,
    language: submission.language,
    license: submission.license,
    repoUrl: submission.repoUrl,
    latestVersionId: versionId,
    listedAmountMcents: submission.pricing.amount,
    searchNames: wordsOf(submission.name, ...tools.map(({ name }) => name)).join(' '),
    searchText: wordsOf(submission.description, ...submission.category).join(' '),
    updatedAt: publishedAt,
  };
}
