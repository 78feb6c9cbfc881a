import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLayers } from '../../src/catalog/index.ts';
import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { publishEcho, submission } from './fixtures.ts';
import { countByStatus, times } from './surface.ts';

const LAYER = writeArchive(new Map([['python/x.bin', randomBytes(20 * 1024 * 1024)]]), { longPaths: 'pax' });
/** As many as may go out at once. */
const PLACES = 8;

let database: TestDatabase;
let gateway: TestGateway;
let path: string;

beforeAll(async () => {
  database = await createTestDatabase();
  gateway = await startTestGateway({
    database,
    change({ http }) {
      const layers = createLayers(http);
      http.builder = {
        async build() {
          const { sha256, bytes } = await layers.keep({ recipeHash: sha256Hex(LAYER), archive: LAYER });
          return { kind: 'built', layerSha256: sha256, bytes, log: '' };
        },
      };
    },
  });
  const { files } = submission('x/y') as { files: Record<string, string> };
  // Random letters: more of them than sockets on both sides take without a reader.
  const filling = times(3, (at) => [`${at}.txt`, randomBytes(768 * 1024).toString('hex')]);
  const server = await publishEcho(gateway, {
    deterministic: true,
    files: { ...files, ...Object.fromEntries(filling), 'requirements.txt': 'x==1' },
  });
  path = `/mcp/${server.id}/versions/1.0.0`;
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
});

/** Asks, and reads nothing beyond the first bytes of the answer. */
function stall(what: string): Promise<Socket> {
  const { hostname, port } = new URL(gateway.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    socket.on('error', reject);
    socket.once('data', () => {
      socket.pause();
      resolve(socket);
    });
    socket.write(`GET ${path}/${what} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`);
  });
}

async function readAll(what: string): Promise<number> {
  const response = await gateway.fetch(`${path}/${what}`);
  const body = Buffer.from(await response.arrayBuffer());
  if (response.ok) expect(body.length).toBe(Number(response.headers.get('content-length')));
  return response.status;
}

test.each(['code', 'layer'])(
  'whoever asks for the headers of %s alone keeps nobody from it',
  async (what) => {
    const asked = await Promise.all(
      times(PLACES, () => gateway.fetch(`${path}/${what}`, { method: 'HEAD' })),
    );
    expect(countByStatus(asked)).toEqual({ 200: PLACES });
    expect(asked[0]?.headers.get('repr-digest')).toMatch(/^sha-256=:/);
    expect(await readAll(what)).toBe(200);
  },
);

test.each(['code', 'layer'])('few read %s at once, and whoever leaves makes room', async (what) => {
  const readers = await Promise.all(times(PLACES, () => stall(what)));
  expect(await readAll(what)).toBe(429);
  // What is no archive is still to be had.
  expect((await gateway.fetch(`${path}/manifest`)).status).toBe(200);
  for (const reader of readers) reader.destroy();
  await expect.poll(() => readAll(what), { timeout: 10_000 }).toBe(200);
});
