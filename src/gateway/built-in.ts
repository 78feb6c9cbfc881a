import { readFileSync } from 'node:fs';
import { writeManifest } from '../catalog/index.ts';
import { archiveHash } from '../core/archive.ts';
import { sha256Hex } from '../core/bytes.ts';
import type { Json } from '../core/canonical-json.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { toUnixSeconds } from '../core/clock.ts';
import { type Uuid, uuidFrom } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import { type Sql, withTransaction } from '../db/index.ts';
import {
  appendLeaf,
  findPublication,
  listPublications,
  type VersionDescription,
} from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';
import { EXAMPLE_PRICE, runExample } from './example.ts';
import { hashResult, type Sale } from './sale.ts';

/** The platform as a publisher: what it sells itself is its own income. */
export const PLATFORM_PUBLISHER: Uuid = uuidFrom('publisher', 'millicent');

const NEVER_REPAIRED = new Date(0);
const PREFIX = 'millicent/';
const EXAMPLE = readBuiltIn('millicent/example', './example.ts');

type BuiltIn = {
  name: string;
  toolId: Uuid;
  versionId: Uuid;
  version: string;
  codeSha256: string;
  /** Its leaf names the SHA-256 of this; in logs from before manifests, that of its empty tools list. */
  manifest: string;
};

/** A tool of the gateway is published like any other: its version names the hash of its source file. */
function readBuiltIn(name: string, file: string): BuiltIn {
  const source = readFileSync(new URL(file, import.meta.url));
  const entrypoint = file.replace('./', '');
  const codeSha256 = archiveHash(new Map([[entrypoint, source]]));
  const version = `1.0.0+${codeSha256.slice(0, 12)}`;
  const manifest = writeManifest({
    ...{ name, version, tier: 'hobbyist', runtime: null, entrypoint, codeSha256 },
    ...{
      rootSha256: null,
      layerSha256: null,
      toolsHash: sha256Hex(canonicalJson([])),
      limits: {},
      hosts: [],
    },
    ...{ endpointUrl: null, isDeterministic: false, signature: null },
  });
  return {
    name,
    version,
    codeSha256,
    manifest,
    toolId: uuidFrom('server', name),
    versionId: versionIdOf(name, version),
  };
}

function versionIdOf(name: string, version: string): Uuid {
  return uuidFrom('built-in', name, version);
}

/** Puts the versions of our own tools in the log and opens our accounts; safe to repeat, for many gateways at once. */
export async function publishBuiltIns(deps: Pick<GatewayDeps, 'sql' | 'clock' | 'ledger'>): Promise<void> {
  const wanted = { tool: EXAMPLE.name, version: EXAMPLE.version };
  try {
    await withTransaction(deps.sql, async (tx) => {
      await deps.ledger.openPublisher(tx, PLATFORM_PUBLISHER);
      if (await findPublication(tx, wanted)) return;
      await appendLeaf(tx, {
        ...{ kind: 'publish', ...wanted, publisher: 'millicent' },
        ...{ sha256: EXAMPLE.codeSha256, manifest: sha256Hex(EXAMPLE.manifest) },
        time: toUnixSeconds(deps.clock.now()),
      });
    });
  } catch (error) {
    // Another gateway of this release that starts at this moment was quicker, and had the accounts to open it with.
    if (!(error instanceof Problem) || error.type !== 'conflict') throw error;
    invariant(await findPublication(deps.sql, wanted), 'the log holds our own tool');
  }
}

/** A version of one of our own tools, of this release or an earlier one; the log is where they are kept. */
export async function describeBuiltIn(sql: Sql, versionId: Uuid): Promise<VersionDescription | undefined> {
  const published = await listPublications(sql, PREFIX);
  const found = published.find(({ tool, version }) => versionIdOf(tool, version) === versionId);
  return (
    found && { name: found.tool, version: found.version, codeSha256: found.sha256, logIndex: found.index }
  );
}

/** The manifest of a version of one of our own tools, where the log names it; what earlier releases ran is gone. */
export async function findBuiltInManifest(
  sql: Sql,
  { name, version }: { name: string; version: string },
): Promise<string | undefined> {
  if (name !== EXAMPLE.name || version !== EXAMPLE.version) return undefined;
  const leaf = await findPublication(sql, { tool: name, version });
  return leaf?.manifest === sha256Hex(EXAMPLE.manifest) ? EXAMPLE.manifest : undefined;
}

/** Whether a request is one of `/v1/example`, which is in no catalog. */
export function isExample(request: Pick<Sale['request'], 'server'>): boolean {
  return request.server === EXAMPLE.name;
}

/** One call of `/v1/example`. */
export function exampleSale(deps: Pick<GatewayDeps, 'settings'>, input: { [key: string]: Json }): Sale {
  const runInstantly = () => {
    const result = runExample(input);
    return { result, responseHash: hashResult(result) };
  };
  return {
    toolId: EXAMPLE.toolId,
    versionId: EXAMPLE.versionId,
    version: EXAMPLE.version,
    payeeId: PLATFORM_PUBLISHER,
    tier: 'platform',
    price: EXAMPLE_PRICE,
    scope: 'example',
    request: { server: EXAMPLE.name, tool: 'example', arguments: input },
    resource: { url: `${deps.settings.publicUrl}/v1/example`, description: 'The example call' },
    runTimeoutMs: 1_000,
    repairedAt: NEVER_REPAIRED,
    runInstantly,
    async run() {
      return { kind: 'delivered', result: runInstantly().result, runMs: 0 };
    },
  };
}
