import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { sha256Hex } from '../../core/bytes.ts';
import { isUuid } from '../../core/ids.ts';
import { BUNDLE_BYTES_MAX } from '../../provenance/index.ts';
import { type CommandInput, UsageError } from '../command.ts';
import { archiveOf, readFolder } from '../pack.ts';
import { download, downloadJson } from './http.ts';

const NAME_AT_VERSION =
  /^([a-z0-9][a-z0-9._-]{0,63}(?:\/[a-z0-9][a-z0-9._-]{0,63})?)@([0-9A-Za-z.+-]{1,160})$/;
const VKEYS_BYTES_MAX = 64 * 1024;

/** What is to be verified: a document, and the version or the receipt that it was asked for as. */
export type Subject = {
  document: unknown;
  version?: { tool: string; version: string };
  receiptId?: string;
};

/** Reads the file, or fetches the bundle of `name@version` or a receipt. Undefined for a file that is not JSON. */
export async function readSubject(input: CommandInput, isOffline: boolean): Promise<Subject | undefined> {
  const [word, ...more] = input.positionals;
  if (word === undefined || more.length > 0)
    throw new UsageError('Name one bundle or receipt by its file, a receipt by its id, or name@version.');
  const text = await readFileIfThere(word);
  if (text !== undefined) {
    const document = parseJson(text);
    return document === undefined ? undefined : { document };
  }
  const fetchNamed = (path: string) => {
    const url = input.url + path;
    if (isOffline) throw new UsageError(`--offline asks nobody. Save it first, and verify the file: ${url}`);
    return downloadJson(url, { bytesMax: BUNDLE_BYTES_MAX, signal: input.signal });
  };
  const receiptId = word.toLowerCase();
  if (isUuid(receiptId)) return { document: await fetchNamed(`/receipts/${receiptId}`), receiptId };
  const [, tool, version] = NAME_AT_VERSION.exec(word) ?? [];
  if (tool === undefined || version === undefined) {
    throw new UsageError(`There is no file ${word}. A version is named like acme/text-analysis@1.0.0.`);
  }
  const path = `/mcp/${encodeURIComponent(tool)}/versions/${encodeURIComponent(version)}/bundle`;
  const document = await fetchNamed(path);
  return { document, version: { tool, version } };
}

/** The vkeys that the gateway serves of one of its logs. */
export async function fetchVkeys(
  input: Pick<CommandInput, 'url' | 'signal'>,
  prefix: string,
): Promise<string[]> {
  const body = await download(`${input.url}${prefix}/vkey`, {
    bytesMax: VKEYS_BYTES_MAX,
    signal: input.signal,
  });
  return body
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

/** SHA-256 of an archive, or of the archive that a folder packs to; hex. */
export async function hashCode(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new UsageError(`There is no file or folder ${path}.`);
  if (found.isDirectory()) return sha256Hex(archiveOf(await readFolder(path)));
  const hash = createHash('sha256');
  const file = await open(path);
  for await (const chunk of file.createReadStream()) hash.update(chunk);
  return hash.digest('hex');
}

async function readFileIfThere(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return undefined;
  if (!found.isFile()) throw new UsageError(`${path} is not a file.`);
  if (found.size > BUNDLE_BYTES_MAX) return '';
  const file = await open(path);
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** A JSON file given as an option. */
export async function readJsonFile(path: string): Promise<unknown> {
  const text = await readFileIfThere(path);
  const value = text === undefined ? undefined : parseJson(text);
  if (value === undefined) throw new UsageError(`${path} is not a JSON file.`);
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
