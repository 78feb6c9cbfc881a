const PART_CHARACTERS_MAX = 64;

/**
 * Both halves of a name as the MCP registry takes them, in lower case only: ASCII, so that no two names look
 * alike, and a letter or digit at either end. A namespace there is a host name, so it has no underscore.
 */
const NAMESPACE = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/;
const TOOL = /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/;

/** Names that are ours, or that a reader would take for ours. */
const RESERVED = new Set([
  'admin',
  'administrator',
  'anchors',
  'api',
  'billing',
  'health',
  'invoke',
  'log',
  'mcp',
  'metrics',
  'millicent',
  'official',
  'payments',
  'receipts',
  'root',
  'security',
  'support',
  'system',
  'v0',
  'v1',
  'v2',
  'verified',
  'www',
]);

/** Our own server has no publisher before its name: it is the marketplace itself. */
export const OWN_NAME = 'millicent';

/** Whether the text could be the name of a server, ours included. */
export function isName(text: string): boolean {
  if (text === OWN_NAME) return true;
  const [namespace = '', tool = '', ...rest] = text.split('/');
  const isShort = namespace.length <= PART_CHARACTERS_MAX && tool.length <= PART_CHARACTERS_MAX;
  return isShort && rest.length === 0 && NAMESPACE.test(namespace) && TOOL.test(tool);
}

/** Why a text is no `<publisher>/<tool>` name, or undefined when it is one. */
export function refuseName(name: string): string | undefined {
  const [namespace = '', tool = '', ...rest] = name.split('/');
  if (tool === '' || rest.length > 0) return 'must be "<publisher>/<tool>" with exactly one slash';
  if (namespace.length > PART_CHARACTERS_MAX || tool.length > PART_CHARACTERS_MAX) {
    return `must have at most ${PART_CHARACTERS_MAX} characters on each side of the slash`;
  }
  if (!NAMESPACE.test(namespace)) {
    return 'must have a publisher of a-z 0-9 . - that begins and ends with a letter or digit, in lower case';
  }
  if (!TOOL.test(tool)) {
    return 'must have a tool of a-z 0-9 . _ - that begins and ends with a letter or digit, in lower case';
  }
  if (isReserved(namespace)) return `must not use the reserved publisher "${namespace}"; choose your own`;
  return undefined;
}

/** The half of a name that belongs to one publisher. */
export function namespaceOf(name: string): string {
  return name.slice(0, name.indexOf('/'));
}

/** `millicent-labs` and `millicent.io` pass for the house just as well as `millicent`. */
function isReserved(namespace: string): boolean {
  return RESERVED.has(namespace) || namespace.split(/[.-]/).includes('millicent');
}
