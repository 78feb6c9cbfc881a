import { z } from 'zod';
import { deriveKey } from '../core/bytes.ts';
import { isWithinDepth, type Json } from '../core/canonical-json.ts';
import { addMs, type Clock } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import { type Millicents, millicents } from '../core/money.ts';
import { seal, unseal } from '../core/seal.ts';

/** What a person is asked to pay for: a call that had not enough behind it. */
export type PageSubject = {
  server: string;
  tool: string;
  amount: Millicents;
  /** The account of the key that asked; undefined when none was shown: then a new key is sold. */
  accountId: Uuid | undefined;
};

/** What a client hands back with the answer of its person (MCP 2026-07-28, `requestState`). */
export type PageState = {
  /** Of the call that was asked for. */
  requestDigest: string;
  /** The account of the key it came with. */
  accountId: Uuid | undefined;
  /** The page that was named. */
  pageToken: string;
  /** What the client had to hand back to the tool itself, and was displaced by this. */
  further: { [key: string]: Json } | undefined;
};

/** Payment pages and the way back from them: everything is in sealed tokens, and no row is kept. */
export type PaymentPages = {
  /** The last part of a page's address. It tells nothing, and opens nothing but the page. */
  sealPage(subject: PageSubject): string;
  openPage(token: string): (PageSubject & { expiresAt: Date }) | undefined;
  /** Undefined when it would be too large to send back and forth. */
  sealState(state: PageState): string | undefined;
  openState(text: string): (PageState & { isExpired: boolean }) | undefined;
};

const LIFETIME_MS = 60 * 60 * 1000;
const TOKEN_CHARS_MAX = 2_048;
const STATE_CHARS_MAX = 16 * 1024;
const FURTHER_DEPTH_MAX = 32;
const STATE_PREFIX = 'pay1.';

/** Whether a `requestState` is one of ours, and not a tool's own. */
export function isPageState(text: unknown): text is string {
  return typeof text === 'string' && text.startsWith(STATE_PREFIX);
}

export function createPaymentPages(deps: {
  secrets: readonly [Buffer, ...Buffer[]];
  clock: Clock;
}): PaymentPages {
  const keys = deps.secrets.map((secret) => deriveKey(secret, 'payment-page'));
  const [sealing = Buffer.alloc(0)] = keys;
  const expiry = () => addMs(deps.clock.now(), LIFETIME_MS).getTime();
  return {
    sealPage({ server, tool, amount, accountId }) {
      const fields = { s: server, t: tool, m: Number(amount), a: accountId, e: expiry() };
      return seal(sealing, JSON.stringify(fields), 'page').toString('base64url');
    },
    openPage(token) {
      if (token.length > TOKEN_CHARS_MAX) return undefined;
      const page = open(keys, token, 'page', pageSchema);
      if (!page || page.e <= deps.clock.now().getTime()) return undefined;
      const { s: server, t: tool, m, a: accountId, e } = page;
      return { server, tool, amount: millicents(m), accountId, expiresAt: new Date(e) };
    },
    sealState({ requestDigest, accountId, pageToken, further }) {
      const fields = { d: requestDigest, a: accountId, u: pageToken, f: further, e: expiry() };
      const text = STATE_PREFIX + seal(sealing, JSON.stringify(fields), 'state').toString('base64url');
      return text.length > STATE_CHARS_MAX ? undefined : text;
    },
    openState(text) {
      if (text.length > STATE_CHARS_MAX || !isPageState(text)) return undefined;
      const state = open(keys, text.slice(STATE_PREFIX.length), 'state', stateSchema);
      if (!state) return undefined;
      const { d: requestDigest, a: accountId, u: pageToken, f: further, e } = state;
      return { requestDigest, accountId, pageToken, further, isExpired: e <= deps.clock.now().getTime() };
    },
  };
}

const pageSchema = z.object({
  ...{ s: z.string(), t: z.string(), m: z.int().min(0), e: z.int() },
  a: z.string().optional(),
});
const jsonObject = z.custom<{ [key: string]: Json }>(
  (value) => typeof value === 'object' && value !== null && isWithinDepth(value, FURTHER_DEPTH_MAX),
);
const stateSchema = z.object({
  ...{ d: z.string(), u: z.string(), e: z.int() },
  a: z.string().optional(),
  f: jsonObject.optional(),
});

function open<T>(
  keys: readonly Buffer[],
  text: string,
  context: string,
  schema: z.ZodType<T>,
): T | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  const plain = unseal(keys, Buffer.from(text, 'base64url'), context);
  // It was ours, so it is JSON; what an older version of ours wrote may have another shape.
  return plain && schema.safeParse(JSON.parse(plain.toString('utf8'))).data;
}
