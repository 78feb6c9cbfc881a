import { z } from 'zod';
import { sha256Hex } from '../core/bytes.ts';
import { canonicalJson, type Json } from '../core/canonical-json.ts';
import { invariant } from '../core/invariant.ts';
import type { ToolDefinition } from '../execution/outcome.ts';
import type { Server, Version } from './listing.ts';
import type { ReleaseSignature } from './manifest.ts';
import { type PriceList, readPriceList } from './price-list.ts';
import type { PriceListRow, ServerRow, VersionRow } from './store.ts';

const bound = z.int().positive().exactOptional();
const storedLimits = z.strictObject({
  ...{
    runTimeoutMs: bound,
    memoryBytesMax: bound,
    pidsMax: bound,
    outputBytesMax: bound,
    tmpBytesMax: bound,
  },
});
const jsonObject = z.custom<JsonObject>((value) => typeof value === 'object' && value !== null);
const storedFace = z.strictObject({
  capabilities: jsonObject,
  info: jsonObject,
  instructions: z.string().exactOptional(),
});
type JsonObject = { [key: string]: Json };

/** A server as its row and nothing else of the row says. */
export function toServer(row: ServerRow): Server {
  const { id, name, publisherId, tier, description, category, language, license, repoUrl } = row;
  const { createdAt, updatedAt, pausedAt, pauseReason } = row;
  return {
    ...{
      id,
      name,
      publisherId,
      tier,
      description,
      category,
      language,
      license,
      repoUrl,
      createdAt,
      updatedAt,
    },
    paused: pausedAt ? { since: pausedAt, reason: pauseReason ?? '' } : undefined,
  };
}

export function toPriceList(row: PriceListRow): PriceList {
  return readPriceList({
    model: row.model,
    amount: row.amountMcents,
    tools: row.tools,
    free: row.free,
    settle: row.settle,
  });
}

export function toVersion(row: Omit<VersionRow, 'tools'>): Version {
  const { id, version, codeSha256, runtime, entrypoint, toolsHash, changelog, logIndex, createdAt } = row;
  const { rootSha256, layerSha256, hosts, endpointUrl, manifest, isDeterministic } = row;
  return {
    ...{ id, version, codeSha256, runtime, entrypoint, toolsHash, changelog, logIndex, createdAt },
    ...{ rootSha256, layerSha256, hosts, endpointUrl, manifest, isDeterministic },
    signature: toSignature(row),
    limits: storedLimits.parse(row.limits),
    face: storedFace.parse(row.face),
  };
}

function toSignature(row: Omit<VersionRow, 'tools'>): ReleaseSignature | null {
  const { signatureFormat: format, signatureKeyId: keyId, signatureSha256: sha256 } = row;
  return format && keyId && sha256 ? { format, keyId, sha256 } : null;
}

/** The tools of a version, as they were when its leaf was logged. */
export function toTools(row: Pick<VersionRow, 'id' | 'tools' | 'toolsHash'>): readonly ToolDefinition[] {
  invariant(hashTools(row.tools) === row.toolsHash, `the tools of version ${row.id} are not what was logged`);
  // The hash was just compared: this is what `publish` was given, and that was checked tool by tool.
  return row.tools as readonly ToolDefinition[];
}

/** The SHA-256 of a tools list: what pins a version's contract. */
export function hashTools(tools: unknown): string {
  return sha256Hex(canonicalJson(tools));
}
