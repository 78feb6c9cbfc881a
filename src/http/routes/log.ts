import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { Hono } from 'hono';
import { Problem } from '../../core/problem.ts';
import { parseTilePath, type TransparencyLog } from '../../provenance/index.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';

const gzipped = promisify(gzip);

/** What was signed stays: a tile is the same for good, also one that is not full, whose width is in its address. */
const FOR_GOOD = 'public, max-age=31536000, immutable';
const ONE_SECOND = 'public, max-age=1';

/** Both logs as stock readers expect them (C2SP tlog-tiles): `/log` is the versions', `/log/receipts` the other. */
export function logRoutes(deps: Pick<HttpDeps, 'logs'>): App {
  const app = new Hono<Env>();
  const { versions, receipts } = deps.logs;
  for (const [prefix, log] of [
    ['/log/receipts', receipts],
    ['/log', versions],
  ] as const) {
    app.get(`${prefix}/checkpoint`, (c) => getCheckpoint(log, c));
    app.get(`${prefix}/vkey`, (c) => answerText(c, `${log.vkeys.join('\n')}\n`));
    app.get(`${prefix}/tile/*`, (c) => getTile(log, c, c.req.path.slice(`${prefix}/tile/`.length)));
  }
  return app;
}

async function getCheckpoint(log: TransparencyLog, c: Ctx): Promise<Response> {
  const checkpoint = await log.findCheckpoint();
  if (checkpoint) return answerText(c, checkpoint.note);
  const isEmpty = log.health().kind === 'sound' && (await log.readHead()).treeSize === 0;
  if (!isEmpty) throw notFound(`No checkpoint of the log ${log.origin} is signed yet.`);
  // Stock readers take a log without a checkpoint for one that is broken.
  return answerText(c, log.emptyCheckpoint);
}

async function getTile(log: TransparencyLog, c: Ctx, path: string): Promise<Response> {
  const tile = parseTilePath(path);
  if (!tile) {
    throw notFound(
      'A tile is at /tile/<level>/<n> or /tile/entries/<n>, as in C2SP tlog-tiles: 0/x001/x234/067.p/8.',
    );
  }
  const { level, n, width } = tile;
  const bytes = level === 'entries' ? await log.readEntryTile(tile) : await log.readTile({ level, n, width });
  if (!bytes) throw notFound(`No checkpoint of ${log.origin} covers this tile.`);
  const headers = { 'content-type': 'application/octet-stream', 'cache-control': FOR_GOOD };
  // Hashes do not get shorter; entries do.
  if (level !== 'entries') return c.body(toBody(bytes), 200, headers);
  const isZipped = /\bgzip\b/.test(c.req.header('accept-encoding') ?? '');
  return c.body(toBody(isZipped ? await gzipped(bytes) : bytes), 200, {
    ...headers,
    vary: 'accept-encoding',
    ...(isZipped && { 'content-encoding': 'gzip' }),
  });
}

function answerText(c: Ctx, text: string): Response {
  return c.body(text, 200, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': ONE_SECOND });
}

/** A copy whose bytes are its own: a body may not be a view of memory that others see. */
function toBody(bytes: Buffer): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function notFound(detail: string): Problem {
  return new Problem('not-found', { detail, headers: [['cache-control', 'no-store']] });
}
