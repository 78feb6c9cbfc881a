import { Hono } from 'hono';
import { z } from 'zod';
import { type Hosting, type Listing, runtimeOf, toHostingJson, toSummaryJson } from '../../catalog/index.ts';
import { isUuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import { type PublishAnswer, publish, tellListing } from '../../gateway/index.ts';
import { readPrincipal, requirePrincipal } from '../auth.ts';
import { describeIssues } from '../body.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { readSubmission } from '../submission-body.ts';
import { createUploads, type Uploads } from '../uploads.ts';
import { versionRoutes } from './versions.ts';

const searchSchema = z.strictObject({
  q: z.string().max(200).optional(),
  category: z
    .string()
    .max(64)
    .regex(/^[a-z0-9-]+$/, 'must be a slug such as "text-analysis"')
    .optional(),
  tier: z.enum(['hobbyist', 'pro']).optional(),
  sort: z.enum(['new', 'name', 'price']).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(50),
  cursor: z.string().max(500).optional(),
});

/** The registry: listing servers, publishing them, and looking at one. */
export function registryRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  const uploads = createUploads();
  app.post('/mcp', (c) => postServer(deps, uploads, c));
  app.put('/mcp/:id', (c) => putVersion(deps, uploads, c));
  app.get('/mcp', (c) => searchServers(deps, c));
  app.route('/', versionRoutes(deps));
  app.get('/mcp/:id', (c) => getServer(deps, c, c.req.param('id')));
  // Stock MCP clients probe for a stream and end sessions: 405 tells them there is neither (MONEY.md, rule 12).
  app.delete('/mcp/:id', () => {
    throw notServed();
  });
  return app;
}

function notServed(): Problem {
  return new Problem('method-not-allowed', {
    detail: 'There is no stream or session at this address.',
    headers: [['allow', 'GET, PUT, POST']],
  });
}

async function postServer(deps: HttpDeps, uploads: Uploads, c: Ctx): Promise<Response> {
  const principal = await requirePrincipal(deps, c, 'publish');
  return uploads.run(principal.publisherId ?? principal.keyId, async (take) => {
    const submission = await readSubmission(deps, c, take);
    const published = await publish(deps, principal, { submission, serverId: undefined }, c.req.raw.signal);
    return c.json(toPublishedFields(published), 201);
  });
}

async function putVersion(deps: HttpDeps, uploads: Uploads, c: Ctx): Promise<Response> {
  const principal = await requirePrincipal(deps, c, 'publish');
  const id = c.req.param('id') ?? '';
  return uploads.run(principal.publisherId ?? principal.keyId, async (take) => {
    const submission = await readSubmission(deps, c, take);
    const serverId = isUuid(id) ? id : (await deps.catalog.findListing(id))?.server.id;
    if (!serverId) throw new Problem('not-found', { detail: 'You have no server with this id.' });
    const published = await publish(deps, principal, { submission, serverId }, c.req.raw.signal);
    return c.json(toPublishedFields(published), published.isNewVersion ? 201 : 200);
  });
}

async function searchServers(deps: HttpDeps, c: Ctx): Promise<Response> {
  // A form sends what nobody filled in as an empty text: that asks for nothing.
  const filled = Object.entries(c.req.query()).filter(([, value]) => value !== '');
  const query = searchSchema.safeParse(Object.fromEntries(filled));
  if (!query.success) throw new Problem('malformed-request', { detail: describeIssues(query.error) });
  const { servers, nextCursor } = await deps.catalog.search(query.data);
  return c.json({
    ok: true,
    servers: servers.map(toSummaryJson),
    ...(nextCursor ? { next_cursor: nextCursor } : {}),
  });
}

async function getServer(deps: HttpDeps, c: Ctx, id: string): Promise<Response> {
  if (c.req.header('accept')?.includes('text/event-stream')) throw notServed();
  const listing = await deps.catalog.findListing(id, c.req.query('version'));
  if (!listing) throw new Problem('not-found', { detail: 'There is no server with this id or name.' });
  return c.json({
    ok: true,
    ...(await tellListing(deps, listing)),
    ...(await readEndpoint(deps, c, listing)),
  });
}

/** Where a self-hosted server answers, for its own publisher: whoever knew it could go around the gateway. */
async function readEndpoint(deps: HttpDeps, c: Ctx, { server, version }: Listing): Promise<object> {
  if (version.endpointUrl === null) return {};
  const principal = await readPrincipal(deps, c);
  return principal?.publisherId === server.publisherId ? { endpoint_url: version.endpointUrl } : {};
}

function toPublishedFields(published: PublishAnswer): Record<string, unknown> {
  const { serverId, versionId, submission, codeSha256, tools, logIndex } = published;
  return {
    ok: true,
    id: serverId,
    version_id: versionId,
    name: submission.name,
    version: submission.version,
    code_hash: `sha256:${codeSha256}`,
    tools: tools.map(({ name }) => name),
    log_index: Number(logIndex),
    ...toHostingJson(toHosting(published)),
    ...(published.buildLog === undefined ? {} : { build_log: published.buildLog }),
  };
}

function toHosting({ submission, rootSha256, layerSha256 }: PublishAnswer): Hosting {
  const isHosted = submission.tier === 'hobbyist';
  return {
    ...{ rootSha256, layerSha256, limits: submission.limits, language: submission.language },
    hosts: isHosted ? submission.hosts : [],
    runtime: isHosted ? runtimeOf(submission.language) : null,
  };
}
