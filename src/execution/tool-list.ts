import type { Json } from '../core/canonical-json.ts';
import type { Contracts } from './contracts.ts';
import { isObject } from './json-lines.ts';
import type { Break, Request } from './json-rpc.ts';
import type { ToolDefinition } from './outcome.ts';
import { toPublicDetail } from './public-detail.ts';

export type ToolList = { kind: 'listed'; tools: ToolDefinition[] } | { kind: 'refused'; detail: string };

const TOOLS_MAX = 128;
const PAGES_MAX = 16;
const CURSOR_CHARACTERS_MAX = 4096;
const TITLE_CHARACTERS_MAX = 256;
const DESCRIPTION_CHARACTERS_MAX = 16 * 1024;
const TOOL_NAME = /^[A-Za-z0-9_./-]{1,128}$/;

/** All pages of a server's `tools/list` (MCP 2025-11-25, "Tools: Listing Tools"), checked. */
export async function listTools(request: Request, contracts: Contracts): Promise<ToolList | Break> {
  const listed: Json[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const reply = await request('tools/list', cursor === undefined ? {} : { cursor });
    if (reply.kind === 'broken') return reply;
    if (reply.kind === 'error') return refuse(`The server refused tools/list: ${reply.message}`);
    const { tools, nextCursor } = reply.result;
    if (!Array.isArray(tools)) return refuse('The server answered tools/list without a list of tools.');
    listed.push(...tools);
    if (listed.length > TOOLS_MAX) return refuse(`The server offers more than ${TOOLS_MAX} tools.`);
    if (nextCursor === undefined || nextCursor === null) return checkTools(listed, contracts);
    if (typeof nextCursor !== 'string' || nextCursor.length > CURSOR_CHARACTERS_MAX) {
      return refuse('The server answered tools/list with a nextCursor that is not a short string.');
    }
    cursor = nextCursor;
  }
  return refuse(`The server's tools/list has more than ${PAGES_MAX} pages.`);
}

function checkTools(listed: Json[], contracts: Contracts): ToolList {
  if (listed.length === 0) return refuse('The server offers no tool.');
  const tools: ToolDefinition[] = [];
  for (const entry of listed) {
    const reading = readTool(entry, contracts);
    if (typeof reading === 'string') return refuse(reading);
    if (tools.some(({ name }) => name === reading.name))
      return refuse(`The server lists "${reading.name}" twice.`);
    tools.push(reading);
  }
  return { kind: 'listed', tools };
}

/** The definition, or why it is refused. Members that we do not know are left out. */
function readTool(entry: Json, contracts: Contracts): ToolDefinition | string {
  if (!isObject(entry) || typeof entry.name !== 'string') return 'The server lists a tool without a name.';
  if (!TOOL_NAME.test(entry.name)) {
    return `The tool name ${JSON.stringify(entry.name.slice(0, 64))} is not 1 to 128 of A-Z a-z 0-9 _ . / -`;
  }
  const { name, title, description, inputSchema, outputSchema, annotations, _meta } = entry;
  if (!isText(title, TITLE_CHARACTERS_MAX)) return `The title of "${name}" is not a text of sensible length.`;
  if (!isText(description, DESCRIPTION_CHARACTERS_MAX)) {
    return `The description of "${name}" is not a text of sensible length.`;
  }
  if (!isObject(inputSchema)) return `The tool "${name}" has no inputSchema.`;
  if (outputSchema !== undefined && !isObject(outputSchema))
    return `The outputSchema of "${name}" is no object.`;
  if (annotations !== undefined && !isObject(annotations))
    return `The annotations of "${name}" are no object.`;
  if (_meta !== undefined && !isObject(_meta)) return `The _meta of "${name}" is no object.`;
  const definition: ToolDefinition = {
    name,
    ...(title === undefined ? {} : { title }),
    ...(description === undefined ? {} : { description }),
    inputSchema,
    ...(outputSchema === undefined ? {} : { outputSchema }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(_meta === undefined ? {} : { _meta }),
  };
  return refuseDefinition(definition, contracts) ?? definition;
}

function refuseDefinition(tool: ToolDefinition, contracts: Contracts): string | undefined {
  if (hasUnstorableText(tool))
    return `The definition of "${tool.name}" holds a NUL or half a surrogate pair.`;
  for (const member of ['inputSchema', 'outputSchema'] as const) {
    const schema = tool[member];
    const why = schema === undefined ? undefined : contracts.refuse(schema);
    if (why !== undefined) return `The ${member} of "${tool.name}" ${why}`;
  }
  return undefined;
}

function isText(value: Json | undefined, charactersMax: number): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value.length <= charactersMax);
}

/** No database text can hold these, and no reader can show them. */
export function hasUnstorableText(value: unknown): boolean {
  if (typeof value === 'string') return /[\0\p{Surrogate}]/u.test(value);
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, member]) => hasUnstorableText(key) || hasUnstorableText(member));
}

function refuse(detail: string): ToolList {
  return { kind: 'refused', detail: toPublicDetail(detail) };
}
