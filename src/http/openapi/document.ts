import { millicents } from '../../core/money.ts';
import { EXAMPLE_PRICE } from '../../gateway/index.ts';
import type { HttpDeps } from '../env.ts';
import { gatewayPaths } from './gateway.ts';
import { issuedReceipt, listing } from './listing.ts';
import { logPaths } from './logs.ts';
import { mcpOperation, openPaths } from './mcp.ts';
import { paymentInfo } from './payment-info.ts';
import { problem, problemOf, problemSchema } from './problem.ts';
import { publishOperation } from './publishing.ts';
import { releaseKeyPaths } from './release-keys.ts';
import { salesPaths } from './sales.ts';
import { versionPaths } from './versions.ts';

const json = (schema: object, example?: unknown) => ({
  content: { 'application/json': { schema, ...(example === undefined ? {} : { example }) } },
});
const object = (properties: Record<string, object>, required: string[] = []) => ({
  type: 'object',
  properties,
  required,
});
const text = { type: 'string' };
const whole = { type: 'integer' };
const answers = {
  402: { description: 'Payment is required: challenges of every wire, price and expiry.' },
  default: problem,
};
const ok = (schema: object) => ({ 200: { description: 'Delivered.', ...json(schema) }, ...answers });
/** Of what a payment or a name (`Idempotency-Key`) is used up for, whether or not it delivers. */
const sold = (schema: object) => ({
  ...ok(schema),
  409: problemOf(
    'cut-off',
    'an earlier call under this payment or name delivered nothing; its detail says what to do.',
  ),
});
const keySecurity = [{ key: [] }];
const anyOrKey = [{}, { key: [] }];
const pathId = [
  {
    ...{ name: 'id', in: 'path', required: true, schema: { type: 'string' } },
    description: 'A server: its UUID, or its name, percent-encoded.',
  },
];

const issuedKey = object(
  { ok: { const: true }, key: text, key_shown_once: { const: true }, balance_mcents: whole, scopes: {} },
  ['ok', 'key', 'balance_mcents', 'scopes'],
);
const delivered = object(
  { ok: { const: true }, result: {}, charged_mcents: whole, receipt_id: text, receipt: text },
  ['ok', 'charged_mcents'],
);

/** The OpenAPI 3.1 document of this gateway, with prices (`x-payment-info`). */
export function openApiDocument(deps: HttpDeps): Record<string, unknown> {
  const { publicUrl, signupPrice } = deps.settings;
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millicent',
      version: deps.version,
      description: 'A pay-per-call gateway for MCP tools: pay only for a result that meets its contract.',
      'x-guidance': 'POST /v1/signup buys a prepaid key; any call may also be paid by itself.',
    },
    servers: [{ url: publicUrl }],
    'x-service-info': { categories: ['developer-tools'], docs: { llms: `${publicUrl}/llms.txt` } },
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: problemSchema },
    },
    paths: {
      '/v1/example': examplePaths(deps),
      '/v1/signup': {
        post: {
          ...{ operationId: 'signUp', summary: 'Buy a prepaid key', security: [] },
          'x-payment-info': paymentInfo(deps, signupPrice),
          requestBody: json(object({ role: { enum: ['agent', 'publisher'] }, label: text }), {}),
          responses: sold(issuedKey),
        },
      },
      '/v1/topup': {
        post: {
          ...{ operationId: 'topUp', summary: 'Add balance to a key', security: keySecurity },
          requestBody: json(object({ amount_mcents: whole }, ['amount_mcents']), { amount_mcents: 10_000 }),
          responses: sold(object({ ok: { const: true }, credited_mcents: whole, balance_mcents: whole })),
        },
      },
      '/v1/balance': get('readBalance', 'What a key can still spend', keySecurity),
      '/v1/topup/checkout': post('openCheckout', 'A page on which a card fills a key', keySecurity, {
        ...{ amount_mcents: whole },
      }),
      '/v1/keys': {
        ...get('listKeys', 'The keys of an account, with their caps and what is used of them', keySecurity),
        ...post('createChildKey', 'A key that spends this account within caps', keySecurity, {
          ...{ label: text, scopes: {}, tools: {}, expires_at: text, caps: object(capFields) },
        }),
      },
      '/v1/keys/{id}/rotate': {
        ...{ parameters: keyId },
        ...post('rotateKey', 'A new secret for the same rights', keySecurity, { overlap_seconds: whole }),
      },
      '/v1/keys/{id}/revoke': {
        ...{ parameters: keyId },
        ...post('revokeKey', 'Ends a key and its children', keySecurity, {}),
      },
      '/v1/credit/challenge': post('challengeCredit', "The message that opens a payer's credit", [], {
        ...{ payer: text },
      }),
      '/v1/credit': post('claimCredit', 'A key for credit that payments left here', [], {
        ...{ payer: text, nonce: text, issued_at: text, signature: text },
      }),
      '/v1/calls': get('listCalls', 'The calls of an account', keySecurity),
      '/v1/pricing': get('readPricing', 'Prices, rails and wires of this gateway', []),
      ...registryPaths(),
      '/invoke/{id}': { parameters: pathId, post: invokeOperation() },
      '/receipts/{id}': receiptPath,
      ...openPaths(),
      ...logPaths(),
      ...gatewayPaths(),
    },
  };
}

function registryPaths(): Record<string, unknown> {
  return {
    '/mcp': {
      ...get('searchServers', 'The catalog', []),
      post: publishOperation({ operationId: 'publishServer', summary: 'List a server' }, answers),
    },
    '/mcp/{id}': {
      parameters: pathId,
      get: {
        ...{ operationId: 'readServer', summary: 'One server with its tools and prices', security: [] },
        responses: ok(listing),
      },
      post: mcpOperation(),
      put: publishOperation({ operationId: 'publishVersion', summary: 'A new version of a server' }, answers),
    },
    ...versionPaths(),
    ...releaseKeyPaths,
    ...salesPaths,
  };
}

function examplePaths(deps: HttpDeps): Record<string, unknown> {
  const operation = {
    ...{ summary: 'The example call', security: anyOrKey },
    'x-payment-info': paymentInfo(deps, millicents(EXAMPLE_PRICE)),
    responses: sold(object({ ok: { const: true }, message: text, charged_mcents: whole })),
  };
  return {
    get: { operationId: 'readExample', ...operation },
    post: { operationId: 'postExample', ...operation, requestBody: json(object({ name: text }), {}) },
  };
}

const expectToolsHash = {
  description:
    'The tools_hash that you know, "sha256:" and hex: when the version that would run has other tools, the call is refused with 412 before any payment.',
};
const allowNetwork = {
  description: 'Consent: the tool may reach the hosts that it declares, and no others.',
};

function invokeOperation(): Record<string, unknown> {
  return {
    ...{ operationId: 'invoke', summary: 'Call a tool; its server states the price', security: anyOrKey },
    parameters: [
      { ...allowNetwork, name: 'Allow-Network', in: 'header', schema: { enum: ['true', 'false'] } },
      { ...expectToolsHash, name: 'Expect-Tools-Hash', in: 'header', schema: text },
    ],
    requestBody: json(
      object(
        {
          ...{ tool: text, arguments: {}, version: text },
          allow_network: { ...allowNetwork, type: 'boolean', default: false },
          expect_tools_hash: { ...expectToolsHash, ...text },
        },
        ['tool'],
      ),
    ),
    responses: {
      ...sold(delivered),
      410: problemOf('yanked', 'the publisher took this version back.'),
      412: problemOf('tools-changed', 'the tools are not what the caller expects; nothing is charged.'),
    },
  };
}

function get(operationId: string, summary: string, security: object[]): Record<string, unknown> {
  return { get: { operationId, summary, security, responses: ok({ type: 'object' }) } };
}

function post(
  operationId: string,
  summary: string,
  security: object[],
  fields: Record<string, object>,
): Record<string, unknown> {
  const requestBody = json(object(fields));
  return { post: { operationId, summary, security, requestBody, responses: ok({ type: 'object' }) } };
}

const capFields = { per_call_mcents: whole, per_hour_mcents: whole, total_mcents: whole };
const receiptPath = {
  parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } }],
  get: {
    ...{ operationId: 'readReceipt', summary: 'A signed receipt with its proofs', security: [] },
    responses: ok(issuedReceipt),
  },
};
const keyId = [{ name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } }];

/** For agents that read prose: what this is, what it costs, and how to pay. */
export function llmsText(deps: HttpDeps): string {
  const { publicUrl, signupPrice, signupCredit } = deps.settings;
  const rails = deps.rails.map(({ name }) => name).join(', ') || 'none configured';
  return `# Millicent

> A pay-per-call gateway for MCP tools. You pay only for a result that meets the tool's contract, exactly once, and get a signed receipt.

- Base URL: ${publicUrl}
- Payment rails: ${rails}. An unpaid call answers 402 with a challenge for each.
- A prepaid key costs ${signupPrice} mcents and starts with ${signupCredit} mcents ($1 is 100,000 mcents).

## Use
- GET ${publicUrl}/mcp?q=words lists tools with their prices.
- POST ${publicUrl}/invoke/{server} with {"tool": "...", "arguments": {...}} calls one.
- POST ${publicUrl}/mcp/{server} is the same server for MCP clients (streamable HTTP); tools/list has its prices.
- ${publicUrl}/mcp/millicent is the marketplace itself as an MCP server: search_mcps, get_mcp, get_price, call_tool, get_receipt, verify_version. With a key in Authorization, this one address is all an agent needs.
- The listing and tools/list tell a tools_hash. Send it as "Expect-Tools-Hash" or "expect_tools_hash" ("millicent/expect-tools-hash" in _meta), and a call of changed tools is refused with 412 before any payment.
- Code that is declared "deterministic" is open: GET ${publicUrl}/mcp/{server}/versions/{version}/code. \`millicent reproduce <receipt> --input <file>\` runs a paid call of it again and compares the result.
- Publishers sign releases with keys of their own (POST ${publicUrl}/v1/release-keys, "signature" at publishing); the listing tells "verified".
- A publisher that takes a version back (POST .../versions/{version}/yank) ends new calls of it; its code, manifest and receipts stay.
- A tool that declares hosts reaches them only when you allow it: "allow_network": true, or "millicent/allow-network" in _meta.
- POST ${publicUrl}/v1/signup buys a key; send it as "Authorization: Bearer mcp_...".
- POST ${publicUrl}/v1/topup with {"amount_mcents": 10000} and the key adds balance to it.
- Repeat a request with the same payment whenever an answer got lost: it is never charged twice.
- A call that fails is free: it says "no charge applied", or returns a refund key.

## Pay
Any client of one of these protocols does it by itself.
- x402: answer PAYMENT-REQUIRED with PAYMENT-SIGNATURE; version 1 reads the body and sends X-PAYMENT.
- MPP: answer one "WWW-Authenticate: Payment" in Payment-Authorization; Accept-Payment narrows what is offered.
- L402: pay the invoice and send "Authorization: L402 <token>:<preimage>".
- Inside MCP: an unpaid call answers a result with the challenges; call again with the payment in _meta as "x402/payment" or "org.paymentauth/credential".
- A key may travel beside a payment, as X-Api-Key where the payment is in Authorization.

## Prove
- Every version is a leaf of an append-only log, every paid call a commitment in a second one: C2SP checkpoints and tiles under ${publicUrl}/log and ${publicUrl}/log/receipts, anchored in contracts that ${publicUrl}/anchors lists.
- GET ${publicUrl}/mcp/{server}/versions/{version}/bundle has all that \`millicent verify\` needs offline; GET ${publicUrl}/receipts/{id} the same for a paid call.
- Publishers read their sales at ${publicUrl}/v1/sales, and \`millicent audit-sales\` proves that none was left out.
- GET ${publicUrl}/ready and ${publicUrl}/metrics tell how logs and anchors are.

## More
- [OpenAPI](${publicUrl}/openapi.json)
- [Prices](${publicUrl}/v1/pricing)
- [Keys that sign receipts and the tokens of publishers' own servers](${publicUrl}/.well-known/jwks.json)
`;
}
