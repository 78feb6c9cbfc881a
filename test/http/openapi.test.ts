import { expect, test } from 'vitest';
import { PROBLEMS } from '../../src/core/problem.ts';
import { llmsText, openApiDocument } from '../../src/http/openapi/document.ts';

const deps = {
  version: '1.2.3',
  rails: [{ name: 'evm' }, { name: 'stripe' }],
  wires: [{ name: 'x402' }, { name: 'mpp' }],
  settings: { publicUrl: 'https://tools.example', signupPrice: 10_000n },
};
// Only these members are read.
const document = JSON.parse(JSON.stringify(openApiDocument(deps as never)));

type Operation = { operationId?: string; responses?: Record<string, unknown>; requestBody?: unknown };
const operations: [string, Operation][] = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item as Record<string, Operation>)
    .filter(([method]) => method !== 'parameters')
    .map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
);

/** What is only read costs nothing, ever, and neither does what a publisher does with its versions. */
const isOpen = (name: string) =>
  /^get \/(?:pay|\.well-known|did\.json|log|anchors|v1\/health|ready|metrics|openapi\.json|llms\.txt)\b|\/(?:versions|release-keys|sales)\b/.test(
    name,
  );

test('every operation has a name of its own, and says what a 402 is where one may come', () => {
  const names = operations.map(([, { operationId }]) => operationId);
  expect(new Set(names).size).toBe(names.length);
  for (const [name, { responses, requestBody }] of operations) {
    expect(Object.keys(responses ?? {}).includes('402'), name).toBe(!isOpen(name));
    if (name.startsWith('post ')) expect(requestBody, name).toBeDefined();
  }
});

test('whatever is paid for tells what is said of a payment that was used up and delivered nothing', () => {
  const paid = [
    'post /v1/signup',
    'post /v1/topup',
    'get /v1/example',
    'post /v1/example',
    'post /invoke/{id}',
  ];
  const told = operations.filter(([, { responses }]) => JSON.stringify(responses).includes('cut-off'));
  expect(told.map(([name]) => name)).toEqual(expect.arrayContaining(paid));
});

test('a price is told in the words of both directories, and a card only from fifty cents', () => {
  const info = document.paths['/v1/signup'].post['x-payment-info'];
  expect(info.offers).toEqual([{ intent: 'charge', method: 'evm', amount: '100000', currency: 'USD' }]);
  expect(info.price).toEqual({ mode: 'fixed', currency: 'USD', amount: '0.10' });
  expect(info.protocols).toEqual([
    { x402: {} },
    { mpp: { method: 'evm', intent: 'charge', currency: 'USD' } },
  ]);
});

test('publishing is told with its bounds, as JSON and as a form, hosted and not', () => {
  const { requestBody, responses } = document.paths['/mcp'].post;
  const [hosted, remote] = requestBody.content['application/json'].schema.oneOf;
  expect(hosted.properties.limits.properties.memory_mb).toEqual({
    type: 'integer',
    minimum: 64,
    maximum: 1024,
  });
  expect(hosted.required).toContain('files');
  expect(remote.required).toContain('endpoint_url');
  const form = requestBody.content['multipart/form-data'].schema;
  expect(form.required).toEqual(['metadata', 'archive']);
  expect(form.properties.metadata.contentSchema.properties).not.toHaveProperty('files');
  expect(Object.keys(responses)).toEqual(expect.arrayContaining(['201', '403']));
  expect(document.paths['/mcp/{id}'].put.operationId).toBe('publishVersion');
});

test('MCP, consent to a network, the page for people and the keys are told', () => {
  const { post } = document.paths['/mcp/{id}'];
  expect(post.operationId).toBe('speakMcp');
  const meta = post.requestBody.content['application/json'].schema.properties.params.properties._meta;
  expect(Object.keys(meta.properties)).toEqual(
    expect.arrayContaining(['x402/payment', 'org.paymentauth/credential', 'millicent/allow-network']),
  );
  const { requestBody, parameters } = document.paths['/invoke/{id}'].post;
  expect(requestBody.content['application/json'].schema.properties.allow_network.type).toBe('boolean');
  expect(parameters).toMatchObject([
    { name: 'Allow-Network', in: 'header' },
    { name: 'Expect-Tools-Hash', in: 'header' },
  ]);
  for (const path of ['/pay/{token}', '/.well-known/oauth-protected-resource', '/.well-known/jwks.json']) {
    expect(document.paths[path].get.security).toEqual([]);
  }
});

test('llms.txt names the MCP endpoint, the marketplace and how payments travel inside MCP', () => {
  // The settings and rails are all that it reads.
  const text = llmsText(deps as never);
  for (const said of ['/mcp/{server}', '/mcp/millicent', 'call_tool', 'x402/payment', 'allow_network']) {
    expect(text).toContain(said);
  }
});

test('llms.txt and the document name what is proven, pinned, signed and taken back', () => {
  const text = llmsText(deps as never);
  const named = ['expect_tools_hash', '/anchors', '/bundle', '/log/receipts', '/yank', '/code', '/metrics'];
  for (const said of [...named, 'deterministic', '/v1/release-keys', '/v1/sales', '"signature"']) {
    expect(text).toContain(said);
  }
  const published = document.paths['/mcp'].post.requestBody.content['application/json'].schema.oneOf[0];
  expect(Object.keys(published.properties)).toEqual(expect.arrayContaining(['signature', 'deterministic']));
  const listed = document.paths['/mcp/{id}'].get.responses[200].content['application/json'].schema;
  expect(Object.keys(listed.properties)).toEqual(
    expect.arrayContaining([
      'tools_hash',
      'manifest_hash',
      'log_index',
      'deterministic',
      'verified',
      'yanked',
    ]),
  );
});

test('every type of problem is in the document, and every refusal is described by it', () => {
  expect(document.components.schemas.Problem.properties.type.enum).toEqual(
    Object.keys(PROBLEMS).map((type) => `https://millicent.dev/problems/${type}`),
  );
  const { 410: yanked, 412: changed } = document.paths['/invoke/{id}'].post.responses;
  expect([yanked.description, changed.description]).toEqual([
    expect.stringContaining('`yanked`'),
    expect.stringContaining('`tools-changed`'),
  ]);
  for (const [name, { responses }] of operations) {
    const other = (responses as { default?: { content: Record<string, object> } }).default;
    const schema = { $ref: '#/components/schemas/Problem' };
    if (other) expect(other.content, name).toEqual({ 'application/problem+json': { schema } });
  }
});
