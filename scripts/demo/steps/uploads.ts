import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { archiveHash } from '../../../src/core/archive.ts';
import { formatDollars } from '../../../src/core/money.ts';
import { callAnswerSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { loadUpload, priceOf, type SampleServer } from '../sample-servers.ts';
import { type Delivered, invokeUrl, type Listed, type Stage, toBody } from '../stage.ts';
import { publishedSchema } from './publish.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const TAR_TIMEOUT_MS = 10_000;

export type Uploaded = { listed: Listed; delivered: Delivered };

/** A server in Node comes as an archive; what is listed is its files, however they were packed. */
export async function uploadArchive(stage: Stage, publisherKey: string, agentKey: string): Promise<Uploaded> {
  const { narrator, info } = stage;
  narrator.step('A server written for Node is uploaded as a .tar.gz, and called');
  const sample = loadUpload('markdown-outline');
  const archive = packByTar(sample);
  const form = new FormData();
  form.set('metadata', JSON.stringify(sample.manifest));
  form.set('archive', new Blob([new Uint8Array(archive)]), 'code.tar.gz');
  const published = read(await send(`${info.url}/mcp`, { key: publisherKey, form }), 201, publishedSchema);
  narrator.fact('POST /mcp', `201 ${published.name}, ${archive.byteLength} bytes packed by tar`);
  narrator.fact('tools', published.tools.join(', '));
  narrator.fact('runs on', `Node, root file system ${published.runtime?.root_hash?.slice(0, 23)}...`);
  const files = new Map(Object.entries(sample.files).map(([path, text]) => [path, Buffer.from(text)]));
  mustEqual(published.code_hash, `sha256:${archiveHash(files)}`, 'The code hash');
  const asJson = { ...sample.manifest, files: sample.files };
  const again = read(
    await send(`${info.url}/mcp/${published.id}`, { method: 'PUT', key: publisherKey, body: asJson }),
    200,
    publishedSchema,
  );
  mustEqual(again.code_hash, published.code_hash, 'The code hash of the same files as JSON');
  narrator.checked('the same files as JSON are the same publication: the code hash is over what is inside');

  const listed: Listed = {
    ...{ ...sample, id: published.id, tools: published.tools },
    ...{ codeHash: published.code_hash, logIndex: published.log_index },
  };
  const tool = 'outline_markdown';
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const price = priceOf(sample.manifest, tool);
  const call = { server: sample.manifest.name, tool, arguments: { text }, priceMcents: price };
  const sent = await send(invokeUrl(stage, call.server), { key: agentKey, body: toBody(call) });
  const answer = read(sent, 200, callAnswerSchema);
  const { title, headings, code_blocks: blocks } = answer.result.structuredContent;
  must(Array.isArray(headings) && Array.isArray(blocks), 'the outline has headings and code blocks');
  narrator.fact(tool, `of our README: "${title}", ${headings.length} headings, ${blocks.length} code blocks`);
  mustEqual(answer.charged_mcents, price, 'The charge');
  must(title === 'Millicent', 'its title is that of our README');
  narrator.checked(`delivered by Node in a jail of its own for ${formatDollars(BigInt(price))}`);
  return { listed, delivered: { call, answer } };
}

/** As `tar -czf` on the publisher's machine packs a folder. */
function packByTar({ files }: SampleServer): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'millicent-upload-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const { stdout, status } = spawnSync('tar', ['-czf', '-', '-C', folder, '.'], {
      timeout: TAR_TIMEOUT_MS,
    });
    mustEqual(status ?? -1, 0, 'The exit code of tar');
    return stdout;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
