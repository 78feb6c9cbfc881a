import { CODE, isObject, type JsonObject, RpcFault, type RpcRequest } from './json-rpc.ts';

type Headers = (name: string) => string | undefined;

/** Which member of the params `Mcp-Name` repeats (MCP 2026-07-28, "Standard Request Headers"). */
const NAMED_BY: Readonly<Record<string, string>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
};

/** Refuses a request whose `MCP-Protocol-Version`, `Mcp-Method` or `Mcp-Name` is missing or not what its body says. */
export function refuseMismatch(header: Headers, { method, params }: RpcRequest): void {
  if (header('mcp-protocol-version') === undefined) throw mismatch('MCP-Protocol-Version is missing');
  const named = header('mcp-method')?.trim();
  if (named === undefined) throw mismatch('Mcp-Method is missing');
  if (named !== method) throw mismatch('Mcp-Method is not the method of the body');
  const member = Object.hasOwn(NAMED_BY, method) ? NAMED_BY[method] : undefined;
  const expected = member === undefined ? undefined : params[member];
  // A body without the member is refused for that.
  if (typeof expected !== 'string') return;
  const given = header('mcp-name');
  if (given === undefined) throw mismatch('Mcp-Name is missing');
  if (decode(given.trim()) !== expected) throw mismatch(`Mcp-Name is not params.${member} of the body`);
}

const ANNOTATION = 'x-mcp-header';
const DEPTH_MAX = 16;
const DECIMAL = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** Refuses a call whose `Mcp-Param-*` headers are not what its arguments say (MCP 2026-07-28, "Custom Headers"). */
export function refuseParamMismatch(header: Headers, schema: JsonObject, input: JsonObject): void {
  for (const { path, name } of findMirrored(schema, [])) {
    const value = valueAt(input, path);
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') continue;
    const given = header(`mcp-param-${name}`);
    if (given === undefined) throw mismatch(`Mcp-Param-${name} is missing`);
    const text = decode(given.trim());
    const isSameNumber = typeof value === 'number' && text && DECIMAL.test(text) && Number(text) === value;
    if (text !== String(value) && !isSameNumber)
      throw mismatch(`Mcp-Param-${name} is not what the body says`);
  }
}

type Mirrored = { path: readonly string[]; name: string };

/** Only what a chain of `properties` leads to may be mirrored. */
function findMirrored(schema: JsonObject, path: readonly string[]): Mirrored[] {
  if (!isObject(schema.properties) || path.length >= DEPTH_MAX) return [];
  return Object.entries(schema.properties).flatMap(([key, member]) => {
    if (!isObject(member)) return [];
    const at = [...path, key];
    const name = member[ANNOTATION];
    const own = typeof name === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(name) ? [{ path: at, name }] : [];
    return [...own, ...findMirrored(member, at)];
  });
}

function valueAt(input: unknown, path: readonly string[]): unknown {
  let value = input;
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

const BASE64 = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/i;

/** A header's value; what has characters that no header may have comes as base64. Undefined when that is broken. */
function decode(value: string): string | undefined {
  if (!/^=\?base64\?.*\?=$/i.test(value)) return value;
  const [, text] = BASE64.exec(value) ?? [];
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) return undefined;
  const plain = bytes.toString('utf8');
  return Buffer.from(plain, 'utf8').equals(bytes) ? plain : undefined;
}

function mismatch(what: string): RpcFault {
  const message = `The request's headers and body disagree: ${what}.`;
  return new RpcFault({ code: CODE.headerMismatch, message }, 400);
}
