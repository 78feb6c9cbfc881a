import {
  type HostedSubmission,
  type ReleaseSignature,
  type RemoteSubmission,
  runtimeOf,
  type Submission,
  toCode,
} from '../catalog/index.ts';
import { writeArchive } from '../core/archive.ts';
import type { Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { timeLimit } from '../core/time-limit.ts';
import type { Tx } from '../db/index.ts';
import { DEFAULT_LIMITS, type Inspection, type ServerRef } from '../execution/index.ts';
import type { GatewayDeps } from './deps.ts';
import { checkRelease } from './release-keys.ts';

/** What a server turned out to be when it was looked at. */
export type Examined = Pick<Listed, 'tools' | 'face'> & {
  /** The root it ran on; null where it ran at its publisher's. */
  rootSha256: string | null;
  layer: { sha256: string; bytes: number } | undefined;
  /** What the build of its dependencies wrote; undefined when nothing was built. */
  buildLog: string | undefined;
};

type ReleaseToExamine = {
  publisherId: Uuid;
  submission: Submission;
  /** The time of its leaf. */
  at: Date;
  tx?: Tx | undefined;
};

type Listed = Extract<Inspection, { kind: 'listed' }>;

const BUILD_BOUND_MS = 5 * 60_000;
const INSPECT_BOUND_MS = 60_000;
const PROOF_BOUND_MS = 20_000;
const LOG_CHARACTERS_MAX = 16 * 1024;

/** The file whose presence at the root of the code asks for a build. */
const MANIFESTS = { python: 'requirements.txt', node: 'package-lock.json', go: undefined } as const;

/** Builds what the code depends on, then runs it once: without network, with the layer, the root and limits of its calls. */
export async function examineHosted(
  deps: Pick<GatewayDeps, 'execution' | 'builder'> & { catalog: Pick<GatewayDeps['catalog'], 'openLayer'> },
  { publisherId, submission }: { publisherId: Uuid; submission: HostedSubmission },
  signal: AbortSignal,
): Promise<Examined> {
  const rootSha256 = await requireRoot(deps, submission);
  const { layer, log } = await buildLayer(deps, { publisherId, submission }, signal);
  const code = toCode(submission, { layer: layer && deps.catalog.openLayer(layer.sha256), rootSha256 });
  const limits = { ...DEFAULT_LIMITS, ...submission.limits };
  const listed = await inspect(deps, { kind: 'hosted', code, limits, publisherId, hosts: [] }, signal);
  return { tools: listed.tools, face: listed.face, rootSha256, layer, buildLog: log };
}

/** Asks for proof that the endpoint is the publisher's, then asks the endpoint what it offers. */
export async function examineEndpoint(
  deps: Pick<GatewayDeps, 'execution' | 'ownership'>,
  input: { publisherId: Uuid; submission: RemoteSubmission; serverId: Uuid },
  signal: AbortSignal,
): Promise<Examined> {
  const { publisherId, submission, serverId } = input;
  const { endpointUrl } = submission;
  const claim = { publisherId, endpointUrl };
  const proof = await deps.ownership.prove(claim, timeLimit(signal, PROOF_BOUND_MS));
  if (proof.kind === 'unproven') {
    const challenge = deps.ownership.challengeFor(publisherId, endpointUrl);
    throw new Problem('forbidden', {
      detail: `endpoint_url: it is not proved to be yours. ${proof.detail} Serve "challenge.body" at "challenge.url", and send this again.`,
      members: { field: 'endpoint_url', challenge, id: serverId },
      isUncharged: true,
    });
  }
  const limits = { ...DEFAULT_LIMITS, ...submission.limits };
  const listed = await inspect(deps, { kind: 'remote', serverId, endpoint: endpointUrl, limits }, signal);
  return { tools: listed.tools, face: listed.face, rootSha256: null, layer: undefined, buildLog: undefined };
}

/** Under which registered key the submission's signature verifies; undefined when it has none. */
export async function examineSignature(
  { releaseKeys }: Pick<GatewayDeps, 'releaseKeys'>,
  { publisherId, submission, ...published }: ReleaseToExamine,
): Promise<ReleaseSignature | undefined> {
  const { signature, files } = submission;
  if (signature === undefined) return undefined;
  return checkRelease(
    { releaseKeys },
    { publisherId, signature, archive: writeArchive(files), ...published },
  );
}

/** The root that code of this language runs on now: what inspected it is what its version names. */
async function requireRoot(
  { execution }: Pick<GatewayDeps, 'execution'>,
  { language }: HostedSubmission,
): Promise<string> {
  const status = await execution.status();
  if (status.kind === 'unavailable') {
    throw new Problem('unavailable', { detail: status.detail, retryAfterSeconds: 60 });
  }
  const { roots } = status.capabilities;
  const runtime = runtimeOf(language);
  // A program that brings everything runs on Python's root, where no root of its own is told.
  const root = roots[runtime] ?? (runtime === 'elf' ? roots.python : undefined);
  if (root) return root.sha256;
  throw new Problem('unavailable', {
    detail: `language: this gateway cannot run "${language}" now.`,
    retryAfterSeconds: 3_600,
    members: { field: 'language' },
  });
}

async function buildLayer(
  { builder }: Pick<GatewayDeps, 'builder'>,
  { publisherId, submission }: { publisherId: Uuid; submission: HostedSubmission },
  signal: AbortSignal,
): Promise<{ layer: { sha256: string; bytes: number } | undefined; log: string | undefined }> {
  const { language, files } = submission;
  const manifest = MANIFESTS[language];
  if (manifest === undefined || !files.has(manifest)) return { layer: undefined, log: undefined };
  const limit = timeLimit(signal, BUILD_BOUND_MS);
  const build = await builder.build({ language, files, publisherId }, limit).catch((error: unknown) => {
    // The build itself ends sooner: most of that time went by in the queue before it.
    if (error !== limit.reason || signal.aborted) throw error;
    throw tooBusy('Too many dependencies are being installed right now.');
  });
  switch (build.kind) {
    case 'none':
      return { layer: undefined, log: undefined };
    case 'built':
      return { layer: { sha256: build.layerSha256, bytes: build.bytes }, log: endOf(build.log) };
    case 'refused':
      throw new Problem('invalid-code', {
        detail: build.detail,
        members: { field: 'files', build_log: endOf(build.log) },
      });
    default:
      return build satisfies never;
  }
}

async function inspect(
  { execution }: Pick<GatewayDeps, 'execution'>,
  server: ServerRef,
  signal: AbortSignal,
): Promise<Listed> {
  const inspection = await execution.inspect({ server }, timeLimit(signal, INSPECT_BOUND_MS));
  if (inspection.kind === 'listed') return inspection;
  throw new Problem('invalid-code', { detail: inspection.detail, members: { stderr: inspection.stderr } });
}

function tooBusy(detail: string): Problem {
  return new Problem('unavailable', { detail, retryAfterSeconds: 60, isUncharged: true });
}

/** The end of a log says why it ended. */
function endOf(log: string): string {
  return log.length > LOG_CHARACTERS_MAX ? `…${log.slice(-LOG_CHARACTERS_MAX)}` : log;
}
