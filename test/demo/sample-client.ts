import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { loadSampleServers } from '../../scripts/demo/sample-servers.ts';

export const PYTHON = '/usr/bin/python3';
/** As the sandbox starts it: nothing of the environment, no user site, no script folder on the path. */
export const PYTHON_FLAGS = ['-I', '-B'];

export type SampleFolder = { root: string; remove(): void };

/** Every sample server on disk exactly as it is uploaded, each in a folder of its own. */
export function unpackSampleServers(): SampleFolder {
  const root = mkdtempSync(join(tmpdir(), 'millicent-samples-'));
  for (const { folder, files } of loadSampleServers()) {
    mkdirSync(join(root, folder));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, folder, name), text);
  }
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) };
}

/** The stock MCP client, connected to one server; it checks results against their output schemas. */
export async function connect(root: string, folder: string): Promise<Client> {
  const client = new Client({ name: 'sample-test', version: '1.0.0' });
  const args = [...PYTHON_FLAGS, join(root, folder, 'server.py')];
  await client.connect(new StdioClientTransport({ command: PYTHON, args, stderr: 'inherit' }));
  // The client learns the output schemas here, and checks results only against those it knows.
  await client.listTools();
  return client;
}

export type Answer = { isError: boolean; text: string; data: Record<string, unknown> };

/** One call, its result in the parts the tests look at. */
export async function call(client: Client, name: string, args: Record<string, unknown>): Promise<Answer> {
  const result = await client.callTool({ name, arguments: args });
  const [first] = result.content as { type: string; text: string }[];
  return {
    isError: result.isError === true,
    text: first?.text ?? '',
    data: (result.structuredContent ?? {}) as Record<string, unknown>,
  };
}
