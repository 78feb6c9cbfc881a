import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** A sample server as it is published: its metadata, and the text of its files by name. */
export type SampleServer = { folder: string; manifest: Manifest; files: Record<string, string> };
export type Manifest = z.infer<typeof manifestSchema>;

const SERVERS = new URL('servers/', import.meta.url);
const UPLOADS = new URL('uploads/', import.meta.url);
const FOLDERS = ['text-analysis', 'csv-profile', 'document-diff', 'json-tools'];

const manifestSchema = z.looseObject({
  name: z.string(),
  version: z.string(),
  entrypoint: z.string(),
  pricing: z.object({
    model: z.enum(['free', 'per_call']),
    amount_mcents: z.int().optional(),
    tools: z.record(z.string(), z.int()).optional(),
  }),
});

/** Every sample server, with the protocol module that they share put into each. */
export function loadSampleServers(): SampleServer[] {
  return FOLDERS.map((folder) => ({
    folder,
    manifest: manifestSchema.parse(JSON.parse(readText(`${folder}/publish.json`))),
    files: {
      ...Object.fromEntries(listPython(folder).map((name) => [name, readText(`${folder}/${name}`)])),
      'mcp_stdio.py': readText('shared/mcp_stdio.py'),
    },
  }));
}

/** A server of the later steps: one for Node, and one that attacks its host. */
export function loadUpload(folder: 'markdown-outline' | 'hostile'): SampleServer {
  const root = fileURLToPath(new URL(folder, UPLOADS));
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  const files = paths.map((path): [string, string] => [path, readFileSync(join(root, path), 'utf8')]);
  const { 'publish.json': manifest = '', ...code } = Object.fromEntries(files);
  const isPython = paths.some((path) => path.endsWith('.py'));
  return {
    folder,
    manifest: manifestSchema.parse(JSON.parse(manifest)),
    files: { ...code, ...(isPython ? { 'mcp_stdio.py': readText('shared/mcp_stdio.py') } : {}) },
  };
}

/** One of the documents that the demo feeds to its tools. */
export function readDocument(name: string): string {
  return readFileSync(new URL(`documents/${name}`, import.meta.url), 'utf8');
}

/** What a call of the tool costs by the server's own price list. */
export function priceOf({ pricing }: Manifest, tool: string): number {
  return pricing.tools?.[tool] ?? pricing.amount_mcents ?? 0;
}

function listPython(folder: string): string[] {
  return readdirSync(new URL(folder, SERVERS)).filter((name) => name.endsWith('.py'));
}

function readText(path: string): string {
  return readFileSync(new URL(path, SERVERS), 'utf8');
}
