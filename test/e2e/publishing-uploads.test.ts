import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLayers } from '../../src/catalog/index.ts';
import { writeArchive } from '../../src/core/archive.ts';
import { makeTarGz, makeZip } from '../catalog/archive-bytes.ts';
import { elfServer } from '../execution/tiny-elf.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, submission } from './fixtures.ts';
import { bearer, expectProblem, type Surface, startSurface } from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let key: string;
beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
  key = await gateway.mint(0, ['publish', 'read']);
});
afterAll(() => surface.close());

type Part = { name: string; content: Buffer | string; filename?: string; headers?: string };

const SERVERS = join(import.meta.dirname, '../../scripts/demo/servers');
const MCP_MODULE = readFileSync(join(import.meta.dirname, '../execution/servers/mcp.mjs'), 'utf8');
const NODE_SERVER = `import { serve, structured } from './lib/mcp.mjs';
serve({ add: ({ a, b }) => structured({ sum: a + b, on: process.version.split('.')[0] }) });
`;

/** An answer; what is absent reads as undefined. */
async function readBody(response: Response): Promise<Record<string, unknown> & { id: string }> {
  // The tests check what they read of it.
  return (await response.json()) as Record<string, unknown> & { id: string };
}

const MIB = 1024 * 1024;
let made = 0;
const newName = () => {
  made += 1;
  return `uploads/tool-${made}`;
};
/** The publish JSON without files. */
function metadataOf(change: Record<string, unknown> = {}): Record<string, unknown> {
  const { files: _, ...metadata } = submission(newName(), {
    pricing: { model: 'per_call', amount_mcents: 10 },
    ...change,
  });
  return metadata;
}

function formOf(parts: readonly Part[], boundary = 'b0undary'): Buffer {
  const spelled = parts.flatMap(({ name, content, filename, headers = '' }) => [
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}\r\n${headers}\r\n`,
    ),
    Buffer.from(content),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...spelled, Buffer.from(`--${boundary}--\r\n`)]);
}

const sendForm = (body: Buffer, type = 'multipart/form-data; boundary=b0undary', as = key) =>
  gateway.fetch('/mcp', {
    ...{ method: 'POST', body: new Uint8Array(body) },
    headers: { 'content-type': type, ...bearer(as) },
  });
const upload = (metadata: unknown, archive: Buffer) =>
  sendForm(
    formOf([
      { name: 'metadata', content: JSON.stringify(metadata) },
      {
        name: 'archive',
        content: archive,
        filename: 'code.bin',
        headers: 'Content-Type: application/octet-stream\r\n',
      },
    ]),
  );
const publish = (body: unknown) => gateway.fetch('/mcp', jsonBody(body, bearer(key)));

async function call(id: string, tool: string, given: Record<string, unknown> = {}) {
  const response = await gateway.fetch(
    `/invoke/${id}`,
    jsonBody({ tool, arguments: given }, bearer(await gateway.mint(1_000))),
  );
  return readBody(response);
}

function filesOf(folder: string): [string, string][] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'publish.json')
    .map((entry): [string, string] => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), readFileSync(path, 'utf8')];
    });
}

describe('the demonstration servers', () => {
  const names = readdirSync(SERVERS).filter((name) => existsSync(join(SERVERS, name, 'publish.json')));

  it.each(names)(
    '%s is one code as JSON, as a tar.gz and as a zip, and each of them is listed',
    async (name) => {
      const files = filesOf(join(SERVERS, name));
      const described = JSON.parse(readFileSync(join(SERVERS, name, 'publish.json'), 'utf8'));
      const shared = filesOf(join(SERVERS, 'shared'));
      const code = [...files, ...shared.filter(([path]) => !files.some(([own]) => own === path))];
      const entries = code.map(([path, content]) => ({ name: path, content }));
      const rename = () => ({ ...described, name: newName() });
      const answers = [
        await publish({ ...rename(), files: Object.fromEntries(code) }),
        await upload(rename(), makeTarGz(entries.map((entry) => ({ ...entry, name: `./${entry.name}` })))),
        await upload(rename(), makeZip(entries)),
      ];
      const bodies = await Promise.all(answers.map(readBody));
      expect(bodies.map(({ ok, detail }) => [ok, detail])).toEqual(Array(3).fill([true, undefined]));
      expect(new Set(bodies.map(({ code_hash }) => code_hash)).size).toBe(1);
      expect(new Set(bodies.map(({ tools }) => JSON.stringify(tools))).size).toBe(1);
    },
  );
});

describe('a server', () => {
  it('in Node is uploaded, listed with what it runs on, and called', async () => {
    const metadata = metadataOf({
      language: 'node',
      entrypoint: 'server.mjs',
      limits: { memory_mb: 256, processes: 40 },
    });
    const response = await upload(
      metadata,
      makeTarGz([
        { name: 'package/server.mjs', content: NODE_SERVER },
        { name: 'package/lib/mcp.mjs', content: MCP_MODULE },
      ]),
    );
    const body = await readBody(response);
    expect(body).toMatchObject({
      ...{ ok: true, tools: ['add'], layer_hash: null, network: { hosts: [] } },
      runtime: { language: 'node', root_hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) },
      limits: { timeout_ms: 5_000, memory_mb: 256, output_kb: 1_024, tmp_mb: 64, processes: 40 },
    });
    const delivered = await call(body.id, 'add', { a: 2, b: 3 });
    expect(delivered).toMatchObject({
      ok: true,
      charged_mcents: 10,
      result: { structuredContent: { sum: 5 } },
    });
  });

  it.runIf(process.arch === 'x64')(
    'that is one static program is uploaded as Go, listed and called',
    async () => {
      const tools = [{ name: 'run', inputSchema: { type: 'object' } }];
      const program = elfServer(
        JSON.stringify({ content: [{ type: 'text', text: 'from a program' }], tools }),
      );
      const metadata = metadataOf({ language: 'go', entrypoint: 'server' });
      const body = await readBody(
        await upload(metadata, makeZip([{ name: 'server', content: program, mode: 0o100755 }])),
      );
      expect(body).toMatchObject({ ok: true, tools: ['run'], runtime: { language: 'go' } });
      const delivered = await call(body.id, 'run');
      expect(delivered).toMatchObject({ ok: true, result: { content: [{ text: 'from a program' }] } });
    },
  );

  it.runIf(process.arch === 'x64')(
    'of 20 MB is uploaded as a program and runs, and is refused as a script',
    async () => {
      const tools = [{ name: 'run', inputSchema: { type: 'object' } }];
      const program = Buffer.concat([
        elfServer(JSON.stringify({ content: [], tools })),
        Buffer.alloc(20 * MIB),
      ]);
      const zip = makeZip([{ name: 'server', content: program, isStored: true }]);
      const body = await readBody(await upload(metadataOf({ language: 'go', entrypoint: 'server' }), zip));
      expect(body).toMatchObject({ ok: true, tools: ['run'] });
      expect(await call(body.id, 'run')).toMatchObject({ ok: true, charged_mcents: 10 });
      const script = await upload(metadataOf({ entrypoint: 'server' }), zip);
      await expectProblem(script, 413, 'body-too-large');
      const huge = makeZip([{ name: 'server', content: Buffer.alloc(25 * MIB), isStored: true }]);
      const refused = await upload(metadataOf({ language: 'go', entrypoint: 'server' }), huge);
      await expectProblem(refused, 413, 'body-too-large');
    },
  );

  it('that declares limits and hosts shows them to everybody, and is inspected inside them without its hosts', async () => {
    const body = await readBody(
      await publish({
        ...submission(newName()),
        limits: { timeout_ms: 2_000, output_kb: 64, tmp_mb: 1 },
        network: { hosts: ['api.example.com', 'api.example.com:8443'] },
      }),
    );
    const declared = {
      limits: { timeout_ms: 2_000, memory_mb: 512, output_kb: 64, tmp_mb: 1, processes: 32 },
      network: { hosts: ['api.example.com', 'api.example.com:8443'] },
    };
    expect(body).toMatchObject({ ok: true, ...declared });
    expect(await readBody(await gateway.fetch(`/mcp/${body.id}`))).toMatchObject(declared);
  });
});

describe('an archive', () => {
  it('that is hostile is refused with the name of its entry, and nothing is listed', async () => {
    const metadata = metadataOf();
    const good = { name: 'server.py', content: 'x' };
    for (const [archive, why] of [
      [makeTarGz([good, { name: '../../etc/cron.d/x', content: 'x' }]), /"..\/..\/etc\/cron.d\/x"/],
      [makeTarGz([good, { name: 'etc', type: '2' }]), /"etc" is a symbolic link/],
      [makeZip([good, { name: 'etc', content: '/etc', mode: 0o120777 }]), /"etc" is a symbolic link/],
      [makeZip([good], { after: Buffer.from('x') }), /data after its end/],
      [Buffer.from('not an archive'), /neither a tar/],
      [Buffer.alloc(0), /is empty/],
    ] as const) {
      const body = await expectProblem(await upload(metadata, archive), 422, 'invalid-code');
      expect(body).toMatchObject({ field: 'archive', detail: expect.stringMatching(why) });
    }
    expect((await gateway.fetch(`/mcp/${encodeURIComponent(String(metadata.name))}`)).status).toBe(404);
  });

  it('comes in a form of exactly two parts, and any other form is refused', async () => {
    const metadata = { name: 'metadata', content: JSON.stringify(metadataOf()) };
    const archive = { name: 'archive', content: makeTarGz([{ name: 'server.py', content: 'x' }]) };
    const whole = formOf([metadata, archive]);
    const forms: [what: string, body: Buffer, why: RegExp, type?: string][] = [
      ['no archive', formOf([metadata]), /"archive" is there not at all/],
      ['no metadata', formOf([archive]), /"metadata" is there not at all/],
      ['no parts', formOf([]), /"metadata" is there not at all/],
      ['two archives', formOf([archive, archive]), /"metadata" is there not at all/],
      ['two metadata', formOf([metadata, metadata]), /"metadata" is there more than once/],
      ['three parts', formOf([metadata, archive, metadata]), /more than 2 parts/],
      ['no boundary', whole, /names no boundary/, 'multipart/form-data'],
      ['another boundary', whole, /does not begin with its boundary/, 'multipart/form-data; boundary=other'],
      ['a preamble', Buffer.concat([Buffer.from('hello\r\n'), whole]), /does not begin with its boundary/],
      ['an epilogue', Buffer.concat([whole, Buffer.from('bye')]), /something after its last boundary/],
      ['no end', whole.subarray(0, -12), /breaks off/],
      ['a part without a name', formOf([{ ...metadata, name: '' }, archive]), /has no name/],
      [
        'base64',
        formOf([metadata, { ...archive, headers: 'Content-Transfer-Encoding: base64\r\n' }]),
        /transfer encoding/,
      ],
      [
        'a header twice',
        formOf([{ ...metadata, headers: 'content-disposition: form-data; name="archive"\r\n' }, archive]),
        /twice/,
      ],
      [
        'endless headers',
        formOf([{ ...metadata, headers: `X: ${'x'.repeat(9_000)}\r\n` }, archive]),
        /too many/,
      ],
      ['metadata that is no JSON', formOf([{ ...metadata, content: '{' }, archive]), /not JSON/],
      [
        'metadata that is no UTF-8',
        formOf([{ ...metadata, content: Buffer.from([0xff]) }, archive]),
        /not UTF-8/,
      ],
      [
        'metadata that nests',
        formOf([{ ...metadata, content: '['.repeat(200) + ']'.repeat(200) }, archive]),
        /nests too deep/,
      ],
    ];
    for (const [what, body, why, type] of forms) {
      const refused = await expectProblem(await sendForm(body, type), 400, 'malformed-request');
      expect([what, refused.detail]).toEqual([what, expect.stringMatching(why)]);
    }
    const long = formOf([{ ...metadata, content: ' '.repeat(300_000) }, archive]);
    await expectProblem(await sendForm(long), 413, 'body-too-large');
    const both = { ...metadataOf(), files: { 'server.py': 'x' } };
    const refused = await expectProblem(await upload(both, archive.content), 422, 'invalid-arguments');
    expect(refused.detail).toMatch(/^files: are in the archive already/);
    const nobody = await sendForm(whole, undefined, await gateway.mint(0, ['read']));
    await expectProblem(nobody, 403, 'forbidden');
  });

  it('larger than a form may be is refused before it is read', async () => {
    const answer = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(
        `${gateway.url}/mcp`,
        {
          method: 'POST',
          headers: {
            ...{ 'content-type': 'multipart/form-data; boundary=b', 'content-length': 33 * 1024 * 1024 },
            ...bearer(key),
          },
        },
        (response) => {
          resolve(response.statusCode);
          sent.destroy();
        },
      );
      sent.on('error', reject);
      sent.write('--b\r\n');
    });
    expect(answer).toBe(413);
  });
});

describe('dependencies', () => {
  it('that are refused are 422 with the log of their build, and nothing is listed', async () => {
    const files = { 'server.py': NODE_SERVER, 'requirements.txt': '--index-url https://evil.example/\n' };
    const body = await expectProblem(await publish({ ...submission(newName()), files }), 422, 'invalid-code');
    expect(body).toMatchObject({ field: 'files', detail: expect.stringMatching(/^requirements\.txt: /) });
    expect(body).toHaveProperty('build_log');
  });

  it('that were built are a layer that the version names, that runs beneath it, and that answers keep', async () => {
    const shelf = surface.database.sql;
    const built = await layerOf({ 'python/greetings.py': 'WORD = "from the layer"\n' });
    const { builder } = gateway.deps.http;
    gateway.deps.http.builder = {
      build: async () => ({ kind: 'built', ...built, log: 'installed greetings\n' }),
    };
    try {
      const code = readFileSync(join(import.meta.dirname, 'servers/echo.py'), 'utf8');
      const files = {
        'server.py': code.replace(
          'import json',
          'import json\nimport greetings\nassert greetings.WORD == "from the layer"',
        ),
        'requirements.txt': 'greetings==1.0\n',
      };
      const name = newName();
      const first = await readBody(await publish({ ...submission(name), files }));
      expect(first).toMatchObject({
        ok: true,
        layer_hash: `sha256:${built.layerSha256}`,
        build_log: 'installed greetings\n',
      });
      const listed = await readBody(await gateway.fetch(`/mcp/${first.id}`));
      expect(listed).toMatchObject({ layer_hash: first.layer_hash });
      const [row] = await shelf<{ storedBytes: bigint }[]>`
        SELECT stored_bytes FROM catalog_publisher ORDER BY stored_bytes DESC LIMIT 1`;
      expect(Number(row?.storedBytes)).toBeGreaterThanOrEqual(built.bytes);
      const delivered = await call(first.id, 'gratis', {});
      expect(delivered).toMatchObject({ ok: true });
    } finally {
      gateway.deps.http.builder = builder;
    }
  });
});

/** A layer of these files where the gateway keeps its layers. */
async function layerOf(files: Record<string, string>): Promise<{ layerSha256: string; bytes: number }> {
  const archive = writeArchive(
    new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])),
  );
  const layers = createLayers({ sql: surface.database.sql, clock: { now: () => new Date() } });
  const stored = await layers.keep({ recipeHash: 'ab'.repeat(32), archive });
  return { layerSha256: stored.sha256, bytes: archive.length };
}

it('one publisher cannot fill the memory with uploads that never end', async () => {
  const chunk = Buffer.alloc(MIB, 'x');
  const { port } = new URL(gateway.url);
  const publisher = await gateway.mint(0, ['publish']);
  const open = Array.from({ length: 4 }, () => {
    const headers = { 'content-type': 'multipart/form-data; boundary=b', ...bearer(publisher) };
    const upload = request({ host: '127.0.0.1', port, path: '/mcp', method: 'POST', headers });
    const status = new Promise<number | undefined>((resolve) => {
      upload
        .once('response', ({ statusCode }) => resolve(statusCode))
        .once('error', () => resolve(undefined));
    });
    for (let sent = 0; sent < 20; sent += 1) upload.write(chunk);
    return { upload, status };
  });
  const refused = await Promise.race(open.map(({ status }) => status));
  expect(refused).toBe(429);
  for (const { upload } of open) upload.destroy();
  const metadata = metadataOf({ entrypoint: 'server.mjs', language: 'node' });
  const files = [
    { name: 'server.mjs', content: Buffer.from(NODE_SERVER) },
    { name: 'lib/mcp.mjs', content: Buffer.from(MCP_MODULE) },
  ];
  expect((await upload(metadata, makeTarGz(files))).status).toBe(201);
});
