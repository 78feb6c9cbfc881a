import type { Uuid } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import type { Runtime } from '../execution/backend.ts';
import type { ServerFace } from '../execution/exchange.ts';
import type { Limits } from '../execution/limits.ts';
import type { ToolDefinition } from '../execution/outcome.ts';
import type { ReleaseSignature } from './manifest.ts';
import type { FreeAllowance, PriceList, SettlePolicy } from './price-list.ts';

/** How a server is served: its code by us, or its endpoint by its publisher. */
export type ServerTier = 'hobbyist' | 'pro';

/** A listed server, as its newest version describes it. */
export type Server = {
  id: Uuid;
  /** `<publisher>/<tool>`. */
  name: string;
  publisherId: Uuid;
  tier: ServerTier;
  description: string;
  category: string[];
  /** Null when a self-hosted server does not tell. */
  language: string | null;
  license: string | null;
  repoUrl: string | null;
  createdAt: Date;
  /** When its newest version was published. */
  updatedAt: Date;
  /** Not sold since then, and why; a new version ends it. */
  paused: { since: Date; reason: string } | undefined;
};

/** One version of a server's code. It never changes. */
export type Version = {
  id: Uuid;
  version: string;
  /** SHA-256 of the archive of the code, hex; of a self-hosted server: of the file that names its endpoint. */
  codeSha256: string;
  /** Null for a self-hosted server, whose code names its endpoint and does not run here. */
  runtime: Runtime | null;
  entrypoint: string;
  /** The root file system it was published on, by content hash; null for versions from before it was noted. */
  rootSha256: string | null;
  /** Its layer of dependencies, by content hash; null when it has none. */
  layerSha256: string | null;
  /** What it declared beside the platform's defaults, inside the ceilings. */
  limits: Partial<Limits>;
  /** The exact hosts that it asks to reach, each `name` or `name:port`. */
  hosts: readonly string[];
  /** What it said of itself when it was published. */
  face: ServerFace;
  /** Where a self-hosted server answers; null for hosted code. */
  endpointUrl: string | null;
  /** SHA-256 of the canonical JSON of the tools, hex. */
  toolsHash: string;
  changelog: string | null;
  /** The text whose SHA-256 its leaf names; null for versions whose leaf names `toolsHash` instead. */
  manifest: string | null;
  /** What its signature verified as when it was logged; null without one. */
  signature: ReleaseSignature | null;
  isDeterministic: boolean;
  logIndex: bigint;
  createdAt: Date;
};

/** All that selling one call needs to know: a version, and today's prices. */
export type Listing = {
  server: Server;
  version: Version;
  tools: readonly ToolDefinition[];
  /** When its publisher took this version back; of a server's newest only when no other is left. */
  yankedAt: Date | undefined;
  prices: PriceList;
  /** For a tool of `tools`; today's price, whatever the version. */
  priceOf(toolName: string): Millicents;
  /** What today's price list gives away of it; undefined for a tool that is free anyway. */
  /** When payments for its calls are moved, by today's price list. */
  settle: SettlePolicy;
  freeAllowanceOf(toolName: string): FreeAllowance | undefined;
};

/** A server among others, without the definitions of its tools. */
export type ListingSummary = {
  server: Server;
  version: Pick<Version, 'id' | 'version' | 'codeSha256' | 'logIndex' | 'createdAt'>;
  toolNames: string[];
  prices: PriceList;
};
