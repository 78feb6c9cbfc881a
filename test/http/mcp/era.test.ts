import { expect, test } from 'vitest';
import { readClient } from '../../../src/http/mcp/era.ts';
import { CODE, RpcFault, readMessage } from '../../../src/http/mcp/json-rpc.ts';
import { refuseParamMismatch } from '../../../src/http/mcp/mirrored-headers.ts';
import { createMcpSessions } from '../../../src/http/mcp/sessions.ts';

const sessions = createMcpSessions({ secrets: [Buffer.alloc(32)], clock: { now: () => new Date(0) } });
const VERSION = 'io.modelcontextprotocol/protocolVersion';
const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';
const STATELESS = { [VERSION]: '2026-07-28', [CAPABILITIES]: { elicitation: {} } };

type Given = { method?: string; params?: object; headers?: Record<string, string> };

function read({ method = 'tools/list', params = {}, headers = {} }: Given) {
  const message = readMessage({ jsonrpc: '2.0', id: 1, method, params });
  return readClient((name) => headers[name], message, sessions);
}

function faultOf(run: () => unknown): { code: number; status: number | undefined } | undefined {
  try {
    run();
    return undefined;
  } catch (fault) {
    if (!(fault instanceof RpcFault)) throw fault;
    return { code: fault.error.code, status: fault.status };
  }
}

const headersOf = (method: string, name?: string) => ({
  ...{ 'mcp-protocol-version': '2026-07-28', 'mcp-method': method },
  ...(name === undefined ? {} : { 'mcp-name': name }),
});

test('a request is of the era that its body claims, or else its header', () => {
  expect(read({}).era).toBe('2025');
  expect(read({}).face.protocolVersion).toBe('2025-03-26');
  for (const version of ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']) {
    const client = read({ headers: { 'mcp-protocol-version': version } });
    expect(client).toMatchObject({ era: '2025', face: { protocolVersion: version, capabilities: {} } });
  }
  const params = { _meta: STATELESS };
  expect(read({ params, headers: headersOf('tools/list') })).toMatchObject({
    era: '2026',
    face: { protocolVersion: '2026-07-28', capabilities: { elicitation: {} } },
  });
});

test('a revision that we do not speak is refused with those that we do', () => {
  const unsupported = { code: CODE.unsupportedVersion, status: 400 };
  expect(faultOf(() => read({ headers: { 'mcp-protocol-version': '1999-01-01' } }))).toEqual(unsupported);
  const headers = { ...headersOf('tools/list'), 'mcp-protocol-version': '2099-01-01' };
  const params = { _meta: { ...STATELESS, [VERSION]: '2099-01-01' } };
  expect(faultOf(() => read({ params, headers }))).toEqual(unsupported);
});

test('a request of the stateless era has to carry its version and capabilities', () => {
  const headers = headersOf('tools/list');
  const invalid = { code: CODE.invalidParams, status: 400 };
  for (const params of [
    {},
    { _meta: {} },
    { _meta: { [VERSION]: '2026-07-28' } },
    { _meta: { [CAPABILITIES]: {} } },
    { _meta: { ...STATELESS, [CAPABILITIES]: 'all' } },
  ]) {
    expect(
      faultOf(() => read({ params, headers })),
      JSON.stringify(params),
    ).toEqual(invalid);
  }
});

test('headers that disagree with the body are refused, however a name is spelled in them', () => {
  const mismatch = { code: CODE.headerMismatch, status: 400 };
  const call = { method: 'tools/call', params: { name: 'grüße', _meta: STATELESS } };
  const spelled = `=?base64?${Buffer.from('grüße').toString('base64')}?=`;
  const good = headersOf('tools/call', spelled);
  expect(read({ ...call, headers: good }).era).toBe('2026');
  expect(read({ ...call, headers: { ...good, 'mcp-name': `  ${spelled} ` } }).era).toBe('2026');
  const { 'mcp-method': _method, ...noMethod } = good;
  for (const headers of [
    noMethod,
    { ...good, 'mcp-method': 'tools/list' },
    { ...good, 'mcp-method': 'TOOLS/CALL' },
    { ...good, 'mcp-name': 'other' },
    { ...good, 'mcp-name': '=?base64?grüße?=' },
    { ...good, 'mcp-name': '=?base64?Zg?=' },
    { ...good, 'mcp-protocol-version': '2025-11-25' },
    headersOf('tools/call'),
  ]) {
    expect(
      faultOf(() => read({ ...call, headers })),
      JSON.stringify(headers),
    ).toEqual(mismatch);
  }
});

test('arguments that a tool wants repeated in headers have to be, at any depth of its properties', () => {
  const region = { type: 'string', 'x-mcp-header': 'Region' };
  const size = { type: 'integer', 'x-mcp-header': 'Size' };
  const schema = { properties: { region, box: { type: 'object', properties: { size } } } };
  const refuse = (input: object, headers: Record<string, string>) =>
    faultOf(() => refuseParamMismatch((name) => headers[name.toLowerCase()], schema, { ...input }));
  const mismatch = { code: CODE.headerMismatch, status: 400 };
  expect(refuse({}, { 'mcp-param-region': 'ignored' })).toBeUndefined();
  expect(refuse({ region: 'eu' }, { 'mcp-param-region': ' eu ' })).toBeUndefined();
  expect(refuse({ region: 'eu' }, {})).toEqual(mismatch);
  expect(refuse({ region: 'eu' }, { 'mcp-param-region': 'us' })).toEqual(mismatch);
  expect(refuse({ box: { size: 42 } }, { 'mcp-param-size': '42.0' })).toBeUndefined();
  expect(refuse({ box: { size: 42 } }, { 'mcp-param-size': '43' })).toEqual(mismatch);
  expect(refuse({ region: '__proto__' }, { 'mcp-param-region': '__proto__' })).toBeUndefined();
});

test('what is not one JSON-RPC message is refused, and so are batches', () => {
  const invalid = { code: CODE.invalidRequest, status: 400 };
  const request = { jsonrpc: '2.0', id: 1, method: 'ping' };
  for (const body of [
    ...[null, 'ping', 7, [], [request], {}, { ...request, jsonrpc: '1.0' }, { ...request, method: 7 }],
    ...[
      { ...request, id: null },
      { ...request, id: {} },
      { ...request, id: 'x'.repeat(257) },
    ],
    ...[
      { ...request, params: [] },
      { jsonrpc: '2.0', id: 1 },
      { jsonrpc: '2.0', result: {} },
    ],
    { jsonrpc: '2.0', id: 1, result: {}, error: { code: 1, message: 'both' } },
  ]) {
    expect(
      faultOf(() => readMessage(body)),
      JSON.stringify(body),
    ).toEqual(invalid);
  }
  expect(readMessage(request)).toEqual({ kind: 'request', id: 1, method: 'ping', params: {} });
});
