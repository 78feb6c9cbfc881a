import type { Uuid } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import type { Runtime } from '../execution/backend.ts';
import type { ToolDefinition } from '../execution/outcome.ts';
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
  language: string;
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
  /** SHA-256 of the archive of the code, hex. */
  codeSha256: string;
  runtime: Runtime;
  entrypoint: string;
  /** SHA-256 of the canonical JSON of the tools, hex. */
  toolsHash: string;
  changelog: string | null;
  logIndex: bigint;
  createdAt: Date;
};

/** All that selling one call needs to know: a version, and today's prices. */
export type Listing = {
  server: Server;
  version: Version;
  tools: readonly ToolDefinition[];
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
