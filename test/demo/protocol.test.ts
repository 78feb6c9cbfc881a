import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadSampleServers } from '../../scripts/demo/sample-servers.ts';
import { connect, PYTHON, PYTHON_FLAGS, type SampleFolder, unpackSampleServers } from './sample-client.ts';

let samples: SampleFolder;
beforeAll(() => {
  samples = unpackSampleServers();
});
afterAll(() => samples.remove());

/** What a server answers to raw lines, and how it ends. */
function exchange(folder: string, lines: (string | Buffer)[]) {
  const input = Buffer.concat(lines.flatMap((line) => [Buffer.from(line), Buffer.from('\n')]));
  const run = spawnSync(PYTHON, [...PYTHON_FLAGS, join(samples.root, folder, 'server.py')], {
    input,
    timeout: 20_000,
    maxBuffer: 32 * 1024 * 1024,
  });
  const answers = run.stdout.toString().trim().split('\n').filter(Boolean);
  return { status: run.status, answers: answers.map((line) => JSON.parse(line)) };
}
const request = (id: number, method: string, params?: object) =>
  JSON.stringify({ jsonrpc: '2.0', id, method, ...(params ? { params } : {}) });

describe.each(loadSampleServers())('$folder', ({ folder, manifest }) => {
  test('the stock client lists tools that each declare both schemas', async () => {
    const client = await connect(samples.root, folder);
    try {
      const { tools } = await client.listTools();
      expect(tools.length).toBeGreaterThan(0);
      for (const tool of tools) {
        expect(tool.description?.length).toBeGreaterThan(20);
        expect(tool.inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
        expect(tool.outputSchema).toMatchObject({ type: 'object', additionalProperties: false });
      }
      const named = Object.keys(manifest.pricing.tools ?? {});
      expect(tools.map((tool) => tool.name)).toEqual(expect.arrayContaining(named));
      expect(await client.ping()).toEqual({});
      expect(client.getServerVersion()).toEqual({ name: folder, version: manifest.version });
    } finally {
      await client.close();
    }
  });

  test('what is not a request it knows gets the JSON-RPC error of the specification', () => {
    const { status, answers } = exchange(folder, [
      'this is not JSON',
      '[]',
      request(1, 'resources/list'),
      request(2, 'tools/call', { name: 'no_such_tool', arguments: {} }),
      '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":[]}',
      '{"jsonrpc":"2.0","id":{},"method":"ping"}',
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '{"jsonrpc":"2.0","id":4,"result":{}}',
      '{"jsonrpc":"2.0","id":5,"method":"ping","params":{"x":NaN}}',
      request(6, 'ping'),
    ]);
    expect(status).toBe(0);
    expect(answers.map(({ id, error }) => [id, error?.code])).toEqual([
      [null, -32700],
      [null, -32600],
      [1, -32601],
      [2, -32602],
      [3, -32602],
      [null, -32600],
      [null, -32700],
      [6, undefined],
    ]);
  });

  test('it answers in the revision the client asks for, or in its own', () => {
    const initialize = (id: number, protocolVersion: unknown) =>
      request(id, 'initialize', { protocolVersion });
    const { answers } = exchange(folder, [
      initialize(1, '2025-11-25'),
      initialize(2, '2025-06-18'),
      initialize(3, '1999-01-01'),
      initialize(4, []),
    ]);
    const versions = answers.map((answer) => answer.result?.protocolVersion);
    expect(versions).toEqual(['2025-11-25', '2025-06-18', '2025-11-25', '2025-11-25']);
  });

  test('a message that is too long, too deep or not UTF-8 is refused, and the next one is answered', () => {
    const { status, answers } = exchange(folder, [
      Buffer.alloc(9 * 1024 * 1024, 'x'),
      '['.repeat(100_000),
      Buffer.from([0xff, 0xfe, 0x00]),
      request(1, 'ping'),
    ]);
    expect(status).toBe(0);
    expect(answers.map(({ id, error }) => [id, error?.code])).toEqual([
      [null, -32700],
      [null, -32700],
      [null, -32700],
      [1, undefined],
    ]);
  });

  test('wrong arguments are a tool error that names the argument', async () => {
    const client = await connect(samples.root, folder);
    try {
      const { tools } = await client.listTools();
      for (const { name, inputSchema } of tools) {
        const [required = ''] = inputSchema.required ?? [];
        for (const wrong of [{}, { [required]: 7 }, { [required]: 'a', surprise: true }]) {
          const result = await client.callTool({ name, arguments: wrong });
          expect(result.isError).toBe(true);
          expect(JSON.stringify(result.content)).toMatch(/arguments/);
        }
      }
    } finally {
      await client.close();
    }
  });
});
