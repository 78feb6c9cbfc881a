import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import type { Siblings } from '../core/siblings.ts';
import type { BuiltInServers, GatewayDeps } from '../gateway/index.ts';
import type { Checkout, WebhookReader } from '../payments/index.ts';
import type { McpSessions } from './mcp/index.ts';

/** What every request carries through the app. */
export type Env = {
  // The socket's parts are absent when a test calls the app without one.
  Bindings: Partial<HttpBindings> & { requestId?: string };
  /** The bytes of the body, once they were read. */
  Variables: { content?: Uint8Array };
};
export type App = Hono<Env>;
export type Ctx = Context<Env>;

export type HttpDeps = GatewayDeps & {
  /** The marketplace's own server. */
  builtIns: BuiltInServers;
  /** Undefined: the admin routes answer 503. */
  adminKey: string | undefined;
  /** Whether the process takes new requests: false while it drains. */
  isReady(): Promise<{ isReady: boolean; checks: Record<string, string> }>;
  /** Payment pages, where a rail has them. */
  checkout: Checkout | undefined;
  /** Reads what Stripe tells us, where that is configured. */
  stripeWebhook: WebhookReader | undefined;
  version: string;
  /** Whether an address is a proxy of ours, whose word on who calls is taken. */
  isTrustedProxy(address: string): boolean;
  /** The public keys of the receipts (RFC 7517). */
  jwks(): object;
  /** The keys of the receipts as the DID document of this gateway's address. */
  didDocument(): object;
  /** The other processes behind the same port. */
  siblings: Siblings;
  /** What clients of MCP told of themselves, in their session ids. */
  mcpSessions: McpSessions;
};
