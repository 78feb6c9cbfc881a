import { parseSubmission, readUpload, type Submission } from '../catalog/index.ts';
import { Problem } from '../core/problem.ts';
import { BODY_BYTES_MAX, parseJsonText, readJson } from './body.ts';
import { readContent } from './content.ts';
import type { Ctx, HttpDeps } from './env.ts';
import { type Part, readParts } from './multipart.ts';
import type { TakeBytes } from './uploads.ts';

const METADATA_BYTES_MAX = 256 * 1024;
/** An archive of the largest code is not small. */
const UPLOAD_TIMEOUT_MS = 120_000;
const PARTS = ['metadata', 'archive'] as const;

/** What a publisher sends: the publish JSON with its files in it, or a form of the JSON and an archive. */
export async function readSubmission(deps: HttpDeps, c: Ctx, onBytes: TakeBytes): Promise<Submission> {
  const rules = { allowsLoopback: deps.settings.allowsLoopbackEndpoints, processor: process.arch };
  const type = c.req.header('content-type') ?? '';
  if (!/^multipart\/form-data\b/i.test(type)) {
    return parseSubmission(await readJson(c, BODY_BYTES_MAX.upload, onBytes), rules);
  }
  const content = await readContent(c, BODY_BYTES_MAX.archive, { timeoutMs: UPLOAD_TIMEOUT_MS, onBytes });
  const parts = readParts(
    Buffer.from(content.buffer, content.byteOffset, content.length),
    type,
    PARTS.length,
  );
  const metadata = partOf(parts, 'metadata');
  const archive = partOf(parts, 'archive');
  if (metadata.length > METADATA_BYTES_MAX) {
    throw new Problem('body-too-large', {
      detail: `metadata: may be ${METADATA_BYTES_MAX} bytes at most.`,
      members: { field: 'metadata' },
    });
  }
  return parseSubmission(parseJsonText(metadata), rules, await readUpload(archive));
}

function partOf(parts: readonly Part[], name: (typeof PARTS)[number]): Buffer {
  const found = parts.filter((part) => part.name === name);
  const [part] = found;
  if (part && found.length === 1) return part.content;
  throw new Problem('malformed-request', {
    detail: `The form must have the parts "metadata", the publish JSON without "files", and "archive", a .tar, .tar.gz or .zip: "${name}" is there ${found.length === 0 ? 'not at all' : 'more than once'}.`,
    isUncharged: true,
  });
}
