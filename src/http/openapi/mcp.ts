const text = { type: 'string' };
const json = (schema: object) => ({ content: { 'application/json': { schema } } });

const message = {
  type: 'object',
  description: 'One JSON-RPC 2.0 message; batches are refused. `_meta` may carry a payment in any dialect.',
  properties: {
    ...{ jsonrpc: { const: '2.0' }, id: { type: ['string', 'integer'] }, method: text },
    params: {
      type: 'object',
      properties: {
        _meta: {
          type: 'object',
          properties: {
            'x402/payment': { description: 'x402: an object, or the same in base64.' },
            'org.paymentauth/credential': { type: 'object', description: 'MPP.' },
            'millicent/version': { ...text, description: 'Pins a version of the server.' },
            'millicent/allow-network': {
              type: 'boolean',
              description: 'Lets the tool reach the hosts that it declares.',
            },
            'millicent/expect-tools-hash': {
              ...text,
              description:
                '"sha256:" and hex, as tools/list tells it: other tools refuse the call, uncharged.',
            },
            'millicent/idempotency-key': text,
            'millicent/want-receipt': { type: 'boolean' },
          },
        },
      },
    },
  },
  required: ['jsonrpc'],
};

const headers = [
  ['MCP-Protocol-Version', 'The revision of MCP; clients of 2026-07-28 also send Mcp-Method and Mcp-Name.'],
  ['Mcp-Session-Id', 'As it was answered to `initialize`, for clients of 2024-11-05 to 2025-11-25.'],
  ['Allow-Network', '`true` lets tools reach the hosts that they declare.'],
  ['Accept-Payment', 'Asks for HTTP 402 with every challenge in headers in place of a result.'],
].map(([name, description]) => ({ name, in: 'header', required: false, description, schema: text }));

/** MCP's streamable HTTP, as far as OpenAPI can say it. */
export function mcpOperation(): Record<string, unknown> {
  return {
    ...{
      operationId: 'speakMcp',
      summary: 'MCP (streamable HTTP) with one server',
      security: [{}, { key: [] }],
    },
    description:
      'For MCP clients of 2024-11-05 to 2025-11-25 and of 2026-07-28. A call that is not paid is a result with `isError` and challenges inside; prices stand in `_meta` of `tools/list`. A key goes into Authorization.',
    parameters: headers,
    requestBody: { required: true, ...json(message) },
    responses: {
      200: {
        description: 'A JSON-RPC answer, or a stream that ends with it.',
        content: { 'application/json': { schema: { type: 'object' } }, 'text/event-stream': {} },
      },
      202: { description: 'A notification or an answer was taken.' },
      400: { description: 'A JSON-RPC error: unreadable, or of another revision or session.' },
      402: { description: 'For clients that pay by headers: challenges of every wire.' },
      404: { description: 'A JSON-RPC error: no such server or tool, or a session that is over.' },
    },
  };
}

/** What is read by people and by programs before any call, and costs nothing. */
export function openPaths(): Record<string, unknown> {
  return {
    '/pay/{token}': {
      parameters: [{ name: 'token', in: 'path', required: true, schema: text }],
      get: {
        ...{ operationId: 'openPaymentPage', summary: 'The page on which a person pays', security: [] },
        description: 'Its address comes from an MCP server of this gateway, by URL elicitation.',
        responses: {
          200: { description: 'A page with a card, and an invoice.', content: { 'text/html': {} } },
          404: { description: 'No such page, or no longer.', content: { 'text/html': {} } },
        },
      },
    },
    '/.well-known/oauth-protected-resource': {
      get: document('readResource', 'What a client has to show (RFC 9728)', {
        ...{ resource: text, jwks_uri: text, scopes_supported: { type: 'array', items: text } },
        bearer_methods_supported: { const: ['header'] },
      }),
    },
    '/.well-known/did.json': { get: didDocument('readDid') },
    '/did.json': { get: didDocument('readDidUnderPath') },
    '/.well-known/jwks.json': {
      get: document('readKeys', "Keys that sign receipts, and the tokens that publishers' servers get", {
        keys: { type: 'array', items: { type: 'object' } },
      }),
    },
  };
}

function didDocument(operationId: string): Record<string, unknown> {
  return document(operationId, 'Who signs receipts, as a did:web document', {
    ...{ id: text, verificationMethod: { type: 'array', items: { type: 'object' } } },
  });
}

function document(operationId: string, summary: string, properties: object): Record<string, unknown> {
  const description = 'The document.';
  return {
    ...{ operationId, summary, security: [] },
    responses: { 200: { description, ...json({ type: 'object', properties }) } },
  };
}
