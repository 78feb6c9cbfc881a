import { z } from 'zod';
import { sha256Hex } from '../core/bytes.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import type { Limits } from '../core/limits.ts';
import { readDeclaredLimits, toDeclaredLimitsJson } from './limits-json.ts';

/** Under which of its publisher's registered keys a version's signature verified when it was logged. */
export type ReleaseSignature = {
  format: 'ssh' | 'openpgp' | 'minisign';
  keyId: string;
  /** SHA-256 of the signature's text as it was sent, hex. */
  sha256: string;
};

/** What a version is, beside what it says of itself: everything a run of it is decided by. Hashes are hex. */
export type ManifestFacts = {
  name: string;
  version: string;
  tier: 'hobbyist' | 'pro';
  /** Null for a self-hosted server. */
  runtime: 'python' | 'node' | 'elf' | null;
  entrypoint: string;
  codeSha256: string;
  rootSha256: string | null;
  layerSha256: string | null;
  toolsHash: string;
  /** What it declares; the platform's defaults stand for the rest. */
  limits: Partial<Limits>;
  hosts: readonly string[];
  endpointUrl: string | null;
  isDeterministic: boolean;
  signature: ReleaseSignature | null;
};

export type Manifest = Omit<ManifestFacts, 'endpointUrl'> & {
  /** SHA-256 of the endpoint's URL: whoever knows the address can compare, and nobody reads it out of here. */
  endpointSha256: string | null;
};

/** The manifest of a version: RFC 8785 JSON, whose SHA-256 the version's leaf names. */
export function writeManifest(facts: ManifestFacts): string {
  const { signature, endpointUrl } = facts;
  return canonicalJson({
    v: 1,
    ...{ name: facts.name, version: facts.version, tier: facts.tier, runtime: facts.runtime },
    ...{ entrypoint: facts.entrypoint, code: spell(facts.codeSha256), root: spell(facts.rootSha256) },
    ...{ layer: spell(facts.layerSha256), tools: spell(facts.toolsHash) },
    limits: toDeclaredLimitsJson(facts.limits),
    hosts: facts.hosts,
    endpoint: endpointUrl === null ? null : spell(sha256Hex(endpointUrl)),
    deterministic: facts.isDeterministic,
    signature: signature && { format: signature.format, key: signature.keyId, sha256: signature.sha256 },
  });
}

const hash = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/)
  .transform((text) => text.slice('sha256:'.length));

const manifestSchema = z.strictObject({
  v: z.literal(1),
  ...{ name: z.string(), version: z.string(), tier: z.enum(['hobbyist', 'pro']) },
  ...{ runtime: z.enum(['python', 'node', 'elf']).nullable(), entrypoint: z.string() },
  ...{ code: hash, root: hash.nullable(), layer: hash.nullable(), tools: hash },
  limits: z.record(z.string(), z.int()),
  hosts: z.array(z.string()),
  endpoint: hash.nullable(),
  deterministic: z.boolean(),
  signature: z
    .strictObject({
      ...{ format: z.enum(['ssh', 'openpgp', 'minisign']), key: z.string() },
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    })
    .nullable(),
});

/** What a manifest says; undefined for a text that is none, or that is not spelled as `writeManifest` spells it. */
export function readManifest(text: string): Manifest | undefined {
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (!parsed.success || canonicalJson(parseJson(text)) !== text) return undefined;
  const { code, root, layer, tools, limits, endpoint, deterministic, signature, ...rest } = parsed.data;
  const { v: _, ...said } = rest;
  const declared = readDeclaredLimits(limits);
  if (!declared) return undefined;
  return {
    ...said,
    ...{ codeSha256: code, rootSha256: root, layerSha256: layer, toolsHash: tools, limits: declared },
    ...{ endpointSha256: endpoint, isDeterministic: deterministic },
    signature: signature && {
      ...{ format: signature.format, keyId: signature.key, sha256: signature.sha256 },
    },
  };
}

function spell(sha256: string): string;
function spell(sha256: string | null): string | null;
function spell(sha256: string | null): string | null {
  return sha256 === null ? null : `sha256:${sha256}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
