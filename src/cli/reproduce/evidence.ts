import { type Manifest, readManifest } from '../../catalog/index.ts';
import { sha256Hex } from '../../core/bytes.ts';
import type { Code } from '../../execution/index.ts';
import { type LeafOf, type ReceiptPayload, verifyBundle, verifyReceipt } from '../../provenance/index.ts';
import { UsageError } from '../command.ts';
import { download } from '../verify/http.ts';
import { parseJson, readText } from './request.ts';

const MIB = 1024 * 1024;
const DOCUMENT_BYTES_MAX = MIB;
const CODE_BYTES_MAX = 64 * MIB;
/** More than a build may install. */
const LAYER_BYTES_MAX = 320 * MIB;
const TIMEOUT_MS = 5 * 60_000;

/** What the evidence shows against itself: the run is not begun, and the exit code is 1. */
export class EvidenceFault extends Error {}

export type Gateway = {
  /** Without a slash at its end. */
  url: string;
  /** Keys of the version log from elsewhere; what the gateway tells is taken when there are none. */
  vkeys: readonly string[];
  signal: AbortSignal;
};

/** The receipt of this id, or in this file, as it was signed. */
export async function readReceipt(gateway: Gateway, named: string): Promise<ReceiptPayload> {
  const isId = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(named);
  const told = isId ? await fetchJson(gateway, `/receipts/${named}`) : parseJson(await readText(named));
  const jws = findJws(told);
  if (jws === undefined) {
    throw new UsageError(
      `${named} holds no receipt: it is the answer of GET /receipts/{id}, or that of a call with its receipt in it.`,
    );
  }
  const jwks = (await fetchJson(gateway, '/.well-known/jwks.json')) as Parameters<typeof verifyReceipt>[1];
  const verdict = await verifyReceipt(jws, jwks);
  if (verdict.kind === 'invalid') throw new EvidenceFault(`The receipt does not hold: ${verdict.reason}.`);
  if (isId && verdict.payload.jti !== named.toLowerCase()) {
    throw new EvidenceFault(`The gateway answered with another receipt, ${verdict.payload.jti}.`);
  }
  return verdict.payload;
}

/** The manifest of the version that was sold, proven to be in the log with the code that the receipt names. */
export async function readVersion(
  gateway: Gateway,
  receipt: ReceiptPayload,
): Promise<{ leaf: LeafOf<'publish'>; manifest: Manifest; path: string }> {
  const { server, version } = receipt;
  const path = `/mcp/${encodeURIComponent(server)}/versions/${encodeURIComponent(version)}`;
  const text = (await fetchBytes(gateway, `${path}/manifest`, DOCUMENT_BYTES_MAX)).toString('utf8');
  const manifest = readManifest(text);
  if (!manifest) throw new EvidenceFault(`The manifest of ${server} ${version} is not one.`);
  const bundle = await fetchJson(gateway, `/log/bundle/${receipt.log.index}`);
  const vkeys = gateway.vkeys.length > 0 ? gateway.vkeys : undefined;
  const verdict = verifyBundle(bundle, { version: { tool: server, version }, vkeys, now: new Date() });
  if (verdict.kind === 'invalid') throw new EvidenceFault(`The log does not show it: ${verdict.reason}.`);
  const { leaf } = verdict;
  const isSame =
    leaf.kind === 'publish' &&
    verdict.bundle.log.origin === receipt.log.origin &&
    verdict.bundle.leafIndex === receipt.log.index;
  if (!isSame) throw new EvidenceFault('The log proves another leaf than the one that the receipt names.');
  if (`sha256:${leaf.sha256}` !== receipt.code || manifest.codeSha256 !== leaf.sha256) {
    throw new EvidenceFault(`The receipt names ${receipt.code}, and the log sha256:${leaf.sha256}.`);
  }
  if (leaf.manifest !== sha256Hex(text)) {
    throw new EvidenceFault(
      `The manifest has sha256:${sha256Hex(text)}, and the log names ${leaf.manifest}.`,
    );
  }
  return { leaf, manifest, path };
}

/** The code and its dependencies, each the bytes that its hash names. */
export async function fetchCode(gateway: Gateway, path: string, manifest: Manifest): Promise<Code> {
  const { codeSha256, layerSha256, rootSha256, runtime, entrypoint } = manifest;
  if (runtime === null) throw new UsageError(`${manifest.name} runs at its publisher's, and not here.`);
  const archive = await fetchHashed(gateway, `${path}/code`, {
    sha256: codeSha256,
    bytesMax: CODE_BYTES_MAX,
  });
  const layer =
    layerSha256 === null
      ? undefined
      : await fetchHashed(gateway, `${path}/layer`, { sha256: layerSha256, bytesMax: LAYER_BYTES_MAX });
  return {
    ...{ sha256: codeSha256, runtime, entrypoint, archive },
    ...(layer && layerSha256 !== null ? { layer: { sha256: layerSha256, read: async () => layer } } : {}),
    ...(rootSha256 === null ? {} : { rootSha256 }),
  };
}

async function fetchHashed(
  gateway: Gateway,
  path: string,
  { sha256, bytesMax }: { sha256: string; bytesMax: number },
): Promise<Buffer> {
  const bytes = await fetchBytes(gateway, path, bytesMax);
  const found = sha256Hex(bytes);
  if (found === sha256) return bytes;
  throw new EvidenceFault(`${path} answered bytes of sha256:${found}, and the log names sha256:${sha256}.`);
}

function findJws(told: unknown): string | undefined {
  if (typeof told !== 'object' || told === null) return undefined;
  const { jws, receipt } = told as { jws?: unknown; receipt?: unknown };
  if (typeof jws === 'string') return jws;
  return typeof receipt === 'string' ? receipt : undefined;
}

async function fetchJson(gateway: Gateway, path: string): Promise<unknown> {
  const value = parseJson((await fetchBytes(gateway, path, DOCUMENT_BYTES_MAX)).toString('utf8'));
  if (value === undefined) throw new Error(`${gateway.url}${path} did not answer JSON`);
  return value;
}

function fetchBytes(gateway: Gateway, path: string, bytesMax: number): Promise<Buffer> {
  return download(gateway.url + path, { bytesMax, timeoutMs: TIMEOUT_MS, signal: gateway.signal });
}
