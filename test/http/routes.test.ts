import { afterAll, beforeAll, expect, test } from 'vitest';
import { createApp } from '../../src/app.ts';
import { openApiDocument } from '../../src/http/openapi/document.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';

/** What is the operator's, a payment provider's, or a form of a page for people. */
const NOT_FOR_CLIENTS = /^\w+ \/(?:v1\/admin\/|webhooks\/|pay\/\{token\}\/)/;
/** Refused by name, so that clients of MCP learn that there are no sessions to end. */
const REFUSED = ['delete /mcp/{id}'];
/** The part of an address that says which tile, or whose resource, which OpenAPI has no wildcard for. */
const WILDCARDS = new Map([
  ['get /log/tile/*', 'get /log/tile/{path}'],
  ['get /log/receipts/tile/*', 'get /log/receipts/tile/{path}'],
  ['get /.well-known/oauth-protected-resource/*', 'get /.well-known/oauth-protected-resource'],
]);

let database: TestDatabase;
let gateway: TestGateway;

beforeAll(async () => {
  database = await createTestDatabase();
  gateway = await startTestGateway({ database });
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
});

test('every route that is served to clients is in the OpenAPI document, and nothing else is', () => {
  const { http } = gateway.deps;
  // Routes of Stripe are there when it is configured; none of them is called here.
  const app = createApp({ ...http, checkout: {} as never, stripeWebhook: {} as never });
  const served = app.routes
    .filter(({ method }) => method !== 'ALL' && method !== 'OPTIONS')
    .map(({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)(?:\{[^/]*\})?/g, '{$1}')}`)
    .map((route) => WILDCARDS.get(route) ?? route)
    .filter((route) => !NOT_FOR_CLIENTS.test(route) && !REFUSED.includes(route));
  const { paths } = openApiDocument(http) as { paths: Record<string, Record<string, unknown>> };
  const documented = Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item)
      .filter((method) => method !== 'parameters')
      .map((method) => `${method} ${path}`),
  );
  expect([...new Set(served)].toSorted()).toEqual(documented.toSorted());
});
