import { Hono } from 'hono';
import { type Listing, toVersionJson } from '../../catalog/index.ts';
import { isUuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import { findBuiltInManifest, yank } from '../../gateway/index.ts';
import { requirePrincipal } from '../auth.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { createSlots, type Slots, streamParts } from '../part-stream.ts';

/** Of code and layers at once, each with an archive of 24 MiB or a part of 8 MiB in memory; nobody pays for them. */
const DOWNLOADS_MAX = 8;
const PART_BYTES = 256 * 1024;
const DOWNLOAD_TIMEOUT_MS = 5 * 60_000;

/** What a version never changes: anyone may keep it for good. */
const FOREVER = 'public, max-age=31536000, immutable';

/** The versions of a server: what auditors hold them against, and taking one back. */
export function versionRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  const downloads = createSlots(DOWNLOADS_MAX);
  app.get('/mcp/:id/versions', (c) => listVersions(deps, c));
  app.get('/mcp/:id/versions/:version/manifest', (c) => getManifest(deps, c));
  app.get('/mcp/:id/versions/:version/signature', (c) => getSignature(deps, c));
  app.get('/mcp/:id/versions/:version/code', (c) => getCode(deps, downloads, c));
  app.get('/mcp/:id/versions/:version/layer', (c) => getLayer(deps, downloads, c));
  app.post('/mcp/:id/versions/:version/yank', (c) => postYank(deps, c));
  return app;
}

async function listVersions(deps: HttpDeps, c: Ctx): Promise<Response> {
  const listing = await deps.catalog.findListing(idOf(c));
  if (!listing) throw noSuchVersion();
  const versions = await deps.catalog.listVersions(listing.server.id);
  return c.json({ ok: true, name: listing.server.name, versions: versions.map(toVersionJson) });
}

/** The exact bytes whose SHA-256 the version's leaf names. */
async function getManifest(deps: HttpDeps, c: Ctx): Promise<Response> {
  const own = await findBuiltInManifest(deps.sql, { name: idOf(c), version: versionOf(c) });
  if (own !== undefined) return answerForever(Buffer.from(own), 'application/json');
  const { version, server } = await requireVersion(deps, c);
  if (version.manifest !== null) return answerForever(Buffer.from(version.manifest), 'application/json');
  throw new Problem('not-found', {
    detail: `${server.name} ${version.version} is from before there were manifests: its leaf names its tools_hash instead.`,
    members: { tools_hash: `sha256:${version.toolsHash}` },
  });
}

async function getSignature(deps: HttpDeps, c: Ctx): Promise<Response> {
  const { version, server } = await requireVersion(deps, c);
  const signature = await deps.catalog.findSignature(version.id);
  if (signature !== undefined) return answerForever(Buffer.from(signature), 'text/plain; charset=utf-8');
  throw new Problem('not-found', { detail: `${server.name} ${version.version} was published unsigned.` });
}

/** The canonical archive whose SHA-256 is the version's `code_hash`. */
async function getCode(deps: HttpDeps, downloads: Slots, c: Ctx): Promise<Response> {
  const { version } = await requireOpenVersion(deps, c);
  return answerArchive(c, downloads, version.codeSha256, async () => {
    const { archive } = await deps.catalog.loadCode(version);
    return { bytes: archive.length, parts: cutUp(archive) };
  });
}

/** The archive of its dependencies, whose SHA-256 is the version's `layer_hash`. */
async function getLayer(deps: HttpDeps, downloads: Slots, c: Ctx): Promise<Response> {
  const { server, version } = await requireOpenVersion(deps, c);
  const { layerSha256 } = version;
  if (layerSha256 === null) {
    throw new Problem('not-found', { detail: `${server.name} ${version.version} has no dependencies.` });
  }
  return answerArchive(c, downloads, layerSha256, () => deps.catalog.readLayer(layerSha256));
}

type Archive = { bytes: number; parts: AsyncIterator<Uint8Array> };

/** An archive is large, so few go out at once, in parts, each as its reader takes them. */
async function answerArchive(
  c: Ctx,
  downloads: Slots,
  sha256: string,
  open: () => Promise<Archive>,
): Promise<Response> {
  const release = downloads.take();
  if (!release) {
    throw new Problem('too-many-requests', {
      detail: 'As many archives as may be downloaded at once are. Try again in a moment.',
      retryAfterSeconds: 10,
    });
  }
  try {
    const { bytes, parts } = await open();
    const headers = describeForever('application/x-tar', bytes, sha256);
    if (c.req.raw.method !== 'HEAD') {
      return new Response(streamParts(parts, { timeoutMs: DOWNLOAD_TIMEOUT_MS, onEnd: release }), {
        headers,
      });
    }
    // Nobody reads or cancels the body of an answer that has none, and its place would stay taken.
    await parts.return?.();
    release();
    return new Response(null, { headers });
  } catch (error) {
    release();
    throw error;
  }
}

async function* cutUp(archive: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < archive.length; at += PART_BYTES) yield archive.subarray(at, at + PART_BYTES);
}

async function postYank(deps: HttpDeps, c: Ctx): Promise<Response> {
  const principal = await requirePrincipal(deps, c, 'publish');
  const id = idOf(c);
  const serverId = isUuid(id) ? id : (await deps.catalog.findListing(id))?.server.id;
  if (!serverId) throw new Problem('not-found', { detail: 'You have no server with this id.' });
  const yanked = await yank(deps, principal, { serverId, version: versionOf(c) });
  return c.json({
    ok: true,
    ...{ id: serverId, name: yanked.name, version: yanked.version, yanked: true },
    ...{ yanked_at: yanked.yankedAt, log_index: Number(yanked.logIndex) },
    current_version: yanked.currentVersion,
  });
}

async function requireVersion(deps: HttpDeps, c: Ctx): Promise<Listing> {
  const listing = await deps.catalog.findListing(idOf(c), versionOf(c));
  if (!listing) throw noSuchVersion();
  return listing;
}

/** Code is its publisher's, but for what it declared deterministic so that anyone can run it again. */
async function requireOpenVersion(deps: HttpDeps, c: Ctx): Promise<Listing> {
  const listing = await requireVersion(deps, c);
  if (listing.version.isDeterministic) return listing;
  throw new Problem('forbidden', {
    detail: `The code of ${listing.server.name} ${listing.version.version} is its publisher's own: only versions that are declared deterministic are open to everyone.`,
  });
}

function noSuchVersion(): Problem {
  return new Problem('not-found', {
    detail: 'There is no server with this id or name, or no such version of it.',
  });
}

const idOf = (c: Ctx) => c.req.param('id') ?? '';
const versionOf = (c: Ctx) => c.req.param('version') ?? '';

function answerForever(content: Uint8Array, type: string): Response {
  return new Response(content, { headers: describeForever(type, content.length) });
}

/** `Repr-Digest` is RFC 9530's. */
function describeForever(type: string, bytes: number, sha256?: string): Record<string, string> {
  return {
    ...{ 'content-type': type, 'content-length': String(bytes), 'cache-control': FOREVER },
    ...(sha256 === undefined
      ? {}
      : {
          etag: `"sha256:${sha256}"`,
          'repr-digest': `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`,
        }),
  };
}
