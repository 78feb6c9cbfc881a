import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { type Code, DEFAULT_LIMITS, LIMIT_FLOORS } from '../../src/execution/index.ts';
import {
  call,
  codeOf,
  findLastingTraces,
  hosted,
  NO_TRACES,
  never,
  SERVERS,
  testBackend,
  testExecution,
} from './harness.ts';

const backend = testBackend();
const execution = testExecution(backend);
afterEach(async () => expect(await findLastingTraces()).toEqual(NO_TRACES));
afterAll(() => execution.close());

/** Tells what it was started as; `start` is put before it. */
const TELL = `
const tell = (facts) => {
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const { id, method, params } = JSON.parse(line);
    const serverInfo = { name: 'tell', version: '1' };
    const greeting = { protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo };
    const result = method === 'initialize' ? greeting : { content: [], structuredContent: facts };
    if (id !== undefined) process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result }) + '\\n');
  });
};`;
const IN_MODULE = `import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);${TELL}`;

function nodeCode(files: Record<string, string>, entrypoint: string): Code {
  return { ...codeOf([], files, entrypoint), runtime: 'node' };
}

const ask = async (code: Code, limits = {}) => {
  const outcome = await call(execution, { code, toolName: 'tell', limits });
  if (outcome.kind === 'failed') throw new Error(`${outcome.reason}: ${outcome.detail}`);
  return outcome.result.structuredContent;
};

describe('a server in Node', () => {
  it("made with the official SDK's stdio transport is inspected and called", async () => {
    const { outputFiles } = buildSync({
      ...{ entryPoints: [join(SERVERS, 'sdk.ts')], bundle: true, platform: 'node', format: 'esm' },
      ...{ write: false, outfile: 'server.mjs', logLevel: 'error' },
    });
    const archive = writeArchive(
      new Map([['dist/server.mjs', outputFiles[0]?.contents ?? new Uint8Array()]]),
    );
    expect(archive.length).toBeGreaterThan(256 * 1024);
    const code: Code = {
      ...{ sha256: sha256Hex(archive), runtime: 'node', entrypoint: 'dist/server.mjs', archive },
    };
    const inspection = await execution.inspect({ server: hosted(code) }, never);
    expect(inspection).toMatchObject({ tools: [{ name: 'shout' }] });
    const outcome = await call(execution, {
      code,
      toolName: 'shout',
      arguments: { text: 'ž'.repeat(100_000) },
    });
    expect(outcome).toMatchObject({
      kind: 'delivered',
      result: { structuredContent: { text: 'Ž'.repeat(100_000) } },
    });
  });

  it('is CommonJS or an ES module as `node` itself decides', async () => {
    const common = `${TELL} tell({ kind: 'common', isMain: require.main === module, file: __filename, argv: process.argv })`;
    const esm = `${IN_MODULE} tell({ kind: 'module', url: import.meta.url, argv: process.argv })`;
    const argvOf = (name: string) => ['/usr/bin/node', `/mcp/${name}`];
    for (const name of ['server.js', 'lib/server.cjs']) {
      expect(await ask(nodeCode({ [name]: common }, name))).toEqual({
        ...{ kind: 'common', isMain: true, file: `/mcp/${name}`, argv: argvOf(name) },
      });
    }
    for (const files of [{ 'server.mjs': esm }, { 'server.js': esm, 'package.json': '{"type":"module"}' }]) {
      const [name = ''] = Object.keys(files);
      expect(await ask(nodeCode(files, name))).toEqual({
        ...{ kind: 'module', url: `file:///mcp/${name}`, argv: argvOf(name) },
      });
    }
  });

  it('gets every byte of a large archive, and its folder is read-only', async () => {
    const noise = randomBytes(3_000_001).toString('base64');
    const source = `${TELL}
      const fs = require('node:fs');
      const { createHash } = require('node:crypto');
      const data = fs.readFileSync(__dirname + '/deep/er/noise.txt');
      let write = 'allowed';
      try { fs.writeFileSync(__dirname + '/deep/x', '') } catch (error) { write = error.code }
      tell({ sha256: createHash('sha256').update(data).digest('hex'), write });`;
    expect(await ask(nodeCode({ 'server.js': source, 'deep/er/noise.txt': noise }, 'server.js'))).toEqual({
      ...{ sha256: sha256Hex(Buffer.from(noise)), write: 'EACCES' },
    });
  });

  it('that throws while it starts has crashed, and its words are kept for the publisher', async () => {
    for (const name of ['server.js', 'server.mjs']) {
      const code = nodeCode({ [name]: "throw new Error('not today')" }, name);
      expect(await call(execution, { code, toolName: 'tell' })).toMatchObject({ reason: 'crashed' });
      expect(await execution.inspect({ server: hosted(code) }, never)).toMatchObject({
        kind: 'refused',
        stderr: expect.stringContaining('not today'),
      });
    }
  });

  it('finds its layer where Node looks, beside packages it brings itself', async () => {
    const layer = layerOf({
      'node_modules/left/package.json': '{"name":"left","main":"main.js"}',
      'node_modules/left/main.js': "module.exports = 'left of the layer, with ' + require('@scope/right')",
      'node_modules/@scope/right/index.js': "module.exports = 'right of the layer'",
    });
    const source = `${TELL} tell({ left: require('left'), right: require('@scope/right') })`;
    const alone = { ...nodeCode({ 'server.js': source }, 'server.js'), layer };
    const left = 'left of the layer, with right of the layer';
    expect(await ask(alone)).toEqual({ left, right: 'right of the layer' });
    const own = {
      'server.js': source,
      'node_modules/@scope/own/index.js': '',
      'node_modules/x/index.js': '',
    };
    expect(await ask({ ...nodeCode(own, 'server.js'), layer })).toEqual({
      left,
      right: 'right of the layer',
    });
  });

  it('runs inside the smallest memory and the fewest processes that make sense for it', async () => {
    const source = `${TELL} require('node:fs').stat('/', () => tell({ fine: true }))`;
    const limits = { ...DEFAULT_LIMITS, memoryBytesMax: LIMIT_FLOORS.memoryBytesMax, pidsMax: 12 };
    expect(await ask(nodeCode({ 'server.js': source }, 'server.js'), limits)).toEqual({ fine: true });
  });

  it('is refused where RLIMIT_AS is all that would hold it', async () => {
    const bare = testExecution(testBackend({ cgroups: 'off' }));
    expect(await bare.status()).toMatchObject({ kind: 'ready' });
    const code = nodeCode({ 'server.js': TELL }, 'server.js');
    await expect(call(bare, { code, toolName: 'tell' })).rejects.toMatchObject({
      status: 503,
      message: expect.stringContaining('Node'),
    });
    await bare.close();
  });
});

function layerOf(files: Record<string, string>) {
  const archive = writeArchive(
    new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])),
  );
  return { sha256: sha256Hex(archive), read: async () => archive };
}
