import type { FreeAllowance, SettlePolicy } from '../catalog/index.ts';
import { sha256, sha256Hex } from '../core/bytes.ts';
import type { Json } from '../core/canonical-json.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import type { Uuid } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import type { Outcome } from '../execution/index.ts';
import type { Scope } from '../keys/index.ts';
import { feeOf, type Tier } from '../ledger/index.ts';
import type { Carried } from '../payments/index.ts';
import type { Demand } from './demand.ts';

/** What names a call, and all a request hash covers: RFC 8785 JSON of exactly these members. */
export type CallRequest = {
  server: string;
  tool: string;
  arguments: { [key: string]: Json };
  /** Only when the caller pinned one. */
  version?: string;
  /** Only when the caller consents to the network that the tool declares. */
  network?: true | undefined;
  /** What an earlier answer asked the caller for (MCP 2026-07-28: `inputResponses` and `requestState`). */
  further?: { [key: string]: Json } | undefined;
};

/** One validated call that can be sold: what it costs, who is paid, and how to run it. */
export type Sale = {
  request: CallRequest;
  /** Of the request, where it is the same for every call: `digestCall` and `hashRequest`. */
  digest?: string;
  requestHash?: Buffer;
  toolId: Uuid;
  versionId: Uuid;
  version: string;
  payeeId: Uuid;
  tier: Tier;
  price: Millicents;
  /** Calls of it that an account need not pay for. */
  freeAllowance?: FreeAllowance | undefined;
  /** When the money is moved, where the rail leaves the choice; after the run when left out. */
  settle?: SettlePolicy;
  /** What a bearer key must be allowed. */
  scope: Scope;
  resource: { url: string; description: string };
  /** Runs in this process at once and cannot fail, so it may run first and be charged in one statement. */
  runInstantly?: () => InstantRun;
  runTimeoutMs: number;
  /** When the tool was last published: older failures do not count against it. */
  repairedAt: Date;
  run(signal: AbortSignal, terms: RunTerms): Promise<Outcome>;
};

/** What a tool of this process delivered, and the hash of it for the receipt. */
export type InstantRun = { result: unknown; responseHash: Buffer };

/** How a run is paid, as far as it changes what may leave the tool before its result does. */
export type RunTerms = {
  paidBy: 'nobody' | 'key' | 'credential';
  /** The money is certain, so what the tool says on its way may be passed on (MONEY.md, rule 6). */
  mayStream: boolean;
  /** Who pays: asked for only where a publisher's endpoint is told an opaque name of it. */
  payer(): Promise<string>;
};

/** The payer of what nobody pays for and no key came with. */
export const STRANGER = 'anyone';

/** A run that nobody pays for; a publisher's endpoint still tells one account from another. */
export function freeTerms(payer: string = STRANGER): RunTerms {
  return { paidBy: 'nobody', mayStream: true, payer: async () => payer };
}

/** The hash a receipt binds: anyone who has the request can compute it. */
export function hashRequest(request: CallRequest): Buffer {
  return sha256(canonicalJson(request));
}

/** The hash of an MCP result as it was answered. */
export function hashResult(result: unknown): Buffer {
  return sha256(canonicalJson(result));
}

/** What a payment for this call is bound to, and its claim is known by. */
export function digestCall(request: CallRequest): string {
  return sha256Hex('call', hashRequest(request));
}

/**
 * A sale that is made again and again with the same request: what follows from it is worked out once, the result
 * too when the tool is instant, because those are pure.
 */
export function fixSale(sale: Sale): Sale {
  const run = sale.runInstantly?.();
  return {
    ...sale,
    digest: digestCall(sale.request),
    requestHash: hashRequest(sale.request),
    ...(run ? { runInstantly: () => run } : {}),
  };
}

/** What a payment for this sale has to cover, and the one request it is good for. */
export function toDemand(sale: Sale, carried: Carried): Demand {
  return {
    purpose: 'call',
    amount: sale.price,
    requestDigest: sale.digest ?? digestCall(sale.request),
    resource: sale.resource,
    runTimeoutMs: sale.runTimeoutMs,
    carried,
    order: { kind: 'call', request: sale.request, version: sale.version },
  };
}

/** What the ledger has to set aside for this sale under the id of the call. */
export function toHoldRequest(
  sale: Sale,
  input: {
    id: Uuid;
    accountId: Uuid;
    keyId: Uuid | undefined;
    price: Millicents;
    /** A claim of the same id closes this hold. */
    hasClaim: boolean;
  },
) {
  return {
    id: input.id,
    accountId: input.accountId,
    keyId: input.keyId,
    payeeId: sale.payeeId,
    subject: sale.versionId,
    label: sale.request.tool,
    amount: input.price,
    fee: feeOf(input.price, sale.tier, input.id),
    // Long enough for the queue, the run and the capture; what a crash leaves expires. The hold of a claim is
    // closed with its claim, and expires only should that never happen.
    lifetimeMs: input.hasClaim ? CLAIMED_HOLD_MS : sale.runTimeoutMs + HOLD_SLACK_MS,
  };
}

const HOLD_SLACK_MS = 60_000;
const CLAIMED_HOLD_MS = 24 * 60 * 60 * 1000;
