import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClientFace, Code, Outcome } from '../../src/execution/index.ts';
import {
  codeOf,
  findLastingTraces,
  hosted,
  NO_TRACES,
  never,
  SERVERS,
  testBackend,
  testExecution,
} from './harness.ts';

const execution = testExecution(testBackend());
const limits = { runTimeoutMs: 30_000 };
let code: Record<'reject' | 'serve', Code>;

beforeAll(async () => {
  const { outputFiles } = await build({
    entryPoints: [join(SERVERS, 'sdk-stateless.mjs')],
    ...{ bundle: true, platform: 'node', format: 'esm', target: 'node20', write: false, logLevel: 'silent' },
  });
  const text = outputFiles[0]?.text ?? '';
  const inEra = (era: string): Code => ({
    ...codeOf([], { 'server.mjs': text.replaceAll("process.argv[2] ?? 'reject'", `'${era}'`) }),
    runtime: 'node',
  });
  code = { reject: inEra('reject'), serve: inEra('serve') };
});
afterAll(async () => {
  await execution.close();
  expect(await findLastingTraces()).toEqual(NO_TRACES);
});

function double(server: Code, protocolVersion: string): Promise<Outcome> {
  const client: ClientFace = { protocolVersion, capabilities: {}, info: { name: 'tester', version: '1' } };
  const request = { method: 'tools/call', params: { name: 'double', arguments: { a: 21 } } };
  return execution.run({ server: hosted(server, limits), request, client, outputSchema: undefined }, never);
}

describe('a server made with the SDK of 2026-07-28, hosted', () => {
  it.each([
    ['reject', '2026-07-28'],
    ['reject', '2025-06-18'],
    ['serve', '2026-07-28'],
    ['serve', '2025-11-25'],
  ] as const)('that would %s the older era serves a client of %s', async (era, version) => {
    expect(await double(code[era], version)).toMatchObject({
      kind: 'delivered',
      result: { structuredContent: { doubled: 42 } },
    });
  });

  it('is published with what it says of itself', async () => {
    expect(await execution.inspect({ server: hosted(code.reject, limits) }, never)).toMatchObject({
      kind: 'listed',
      tools: [{ name: 'double', description: 'Doubles.' }],
      face: { info: { name: 'sdk', version: '2.4.0' } },
    });
  });
});
