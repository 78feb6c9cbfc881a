/** `<publisher>/<server>`, or with one of its tools behind it. */
const ENTRY = /^[A-Za-z0-9_.-]{1,128}\/[A-Za-z0-9_.-]{1,128}(?:\/[A-Za-z0-9_./-]{1,128})?$/;

/** Whether a text can stand in a key's list of what it may call. */
export function isToolEntry(text: string): boolean {
  return ENTRY.test(text);
}

/** Whether a key with this list may call this tool. */
export function mayCall(
  principal: { tools: readonly string[] | undefined },
  call: { server: string; tool: string },
): boolean {
  const { tools } = principal;
  return tools === undefined || tools.some((entry) => covers(entry, `${call.server}/${call.tool}`));
}

/** The entry that a parent's list does not cover; undefined when the child may have all it asks for. */
export function findBroader(parent: readonly string[], child: readonly string[]): string | undefined {
  return child.find((wanted) => !parent.some((entry) => covers(entry, wanted)));
}

/** A server covers its tools. Names of servers have exactly one slash, so no tool is taken for a server. */
function covers(entry: string, wanted: string): boolean {
  return wanted === entry || (entry.split('/').length === 2 && wanted.startsWith(`${entry}/`));
}
