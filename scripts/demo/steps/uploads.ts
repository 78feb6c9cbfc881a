import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { archiveHash } from '../../../src/core/archive.ts';
import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import { type Answer, type CallAnswer, callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { loadUpload, priceOf, type SampleServer } from '../sample-servers.ts';
import { type Call, type Delivered, invokeUrl, type Listed, type Stage, toBody } from '../stage.ts';
import { publishedSchema } from './publish.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const TAR_TIMEOUT_MS = 10_000;
const SAME = 'the same files as JSON are the same publication: the code hash is over what is inside';

/** `words` find it in the catalog. */
export type Uploaded = { listed: Listed; delivered: Delivered; words: string };
export type UploadInput = { publisherKey: string; agentKey: string; listed: Listed[]; calls: Calls };

/** A server comes as an archive; what is listed is its files, however they were packed. */
export async function uploadArchive(
  stage: Stage,
  input: UploadInput,
): Promise<Uploaded & { isNew: boolean }> {
  const { narrator } = stage;
  narrator.step('A server written for Node is uploaded as a .tar.gz, and called');
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const sent = await sendArchive(stage, input.publisherKey, loadUpload('markdown-outline'));
  if (sent.status === 503) return uploadPython(stage, input, { readme, refused: sent });
  const listed = await listNode(stage, input.publisherKey, sent);
  const tool = 'outline_markdown';
  const priceMcents = priceOf(listed.manifest, tool);
  const call = { server: listed.manifest.name, tool, arguments: { text: readme }, priceMcents };
  const answer = await callUploaded(stage, input.agentKey, call);
  const { title, headings, code_blocks: blocks } = answer.result.structuredContent;
  must(Array.isArray(headings) && Array.isArray(blocks), 'the outline has headings and code blocks');
  narrator.fact(tool, `of our README: "${title}", ${headings.length} headings, ${blocks.length} code blocks`);
  must(title === 'Millicent', 'its title is that of our README');
  narrator.checked(`delivered by Node in a jail of its own for ${formatDollars(BigInt(priceMcents))}`);
  return { listed, delivered: { call, answer }, words: 'markdown headings', isNew: true };
}

async function listNode(stage: Stage, publisherKey: string, sent: Answer): Promise<Listed> {
  const { narrator, info } = stage;
  const sample = loadUpload('markdown-outline');
  const published = read(sent, 201, publishedSchema);
  narrator.fact('POST /mcp', `201 ${published.name}, tools ${published.tools.join(', ')}`);
  narrator.fact('runs on', `Node, root file system ${published.runtime?.root_hash?.slice(0, 23)}...`);
  const files = new Map(Object.entries(sample.files).map(([path, text]) => [path, Buffer.from(text)]));
  mustEqual(published.code_hash, `sha256:${archiveHash(files)}`, 'The code hash');
  const body = { ...sample.manifest, files: sample.files };
  const url = `${info.url}/mcp/${published.id}`;
  const again = read(await send(url, { method: 'PUT', key: publisherKey, body }), 200, publishedSchema);
  mustEqual(again.code_hash, published.code_hash, 'The code hash of the same files as JSON');
  narrator.checked(SAME);
  const { id, tools, code_hash: codeHash, log_index: logIndex } = published;
  return { ...sample, id, tools, codeHash, logIndex };
}

/** Where there are no control groups nothing bounds Node, so it is not offered: an archive of Python then. */
async function uploadPython(
  stage: Stage,
  { publisherKey, agentKey, listed, calls }: UploadInput,
  { readme, refused }: { readme: string; refused: Answer },
): Promise<Uploaded & { isNew: boolean }> {
  const { narrator } = stage;
  narrator.fact('POST /mcp', `503 ${read(refused, 503, problemSchema).detail}`);
  narrator.say('Without control groups nothing would bound Node. So the archive is one of Python:');
  const call = calls.analyzeText(readme);
  const server = listed.find(({ manifest }) => manifest.name === call.server);
  must(server, `${call.server} is listed`);
  const again = read(await sendArchive(stage, publisherKey, server, server.id), 200, publishedSchema);
  mustEqual(again.code_hash, server.codeHash, 'The code hash');
  narrator.checked(SAME);
  const answer = await callUploaded(stage, agentKey, call);
  narrator.checked(`delivered for ${formatDollars(BigInt(call.priceMcents))}`);
  return { listed: server, delivered: { call, answer }, words: 'readability', isNew: false };
}

async function callUploaded(stage: Stage, key: string, call: Call): Promise<CallAnswer> {
  const answer = read(
    await send(invokeUrl(stage, call.server), { key, body: toBody(call) }),
    200,
    callAnswerSchema,
  );
  mustEqual(answer.charged_mcents, call.priceMcents, 'The charge');
  return answer;
}

/** Publishes, or, with the id of a server, publishes a version of it. */
function sendArchive({ info }: Stage, key: string, sample: SampleServer, id?: string): Promise<Answer> {
  const form = new FormData();
  form.set('metadata', JSON.stringify(sample.manifest));
  form.set('archive', new Blob([new Uint8Array(packByTar(sample))]), 'code.tar.gz');
  const method = id === undefined ? 'POST' : 'PUT';
  return send([info.url, 'mcp', ...(id === undefined ? [] : [id])].join('/'), { method, key, form });
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
