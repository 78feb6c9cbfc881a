/** The credentials after the first of these schemes in an `Authorization` (RFC 9110, 11.6.2); lower-case names. */
export function findAuthorization(header: string, schemes: readonly string[]): string | undefined {
  const unquoted = header.includes('"') ? header.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""') : header;
  for (const part of unquoted.split(',')) {
    const [, scheme = '', credentials = ''] =
      /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s+(\S*))?/.exec(part) ?? [];
    if (schemes.includes(scheme.toLowerCase())) return credentials;
  }
  return undefined;
}

/**
 * The parameters of a challenge whose scheme is `scheme` (RFC 9110, 11.6.1: `name="quoted"` or `name=token`);
 * undefined when it is another scheme's or does not parse to its end.
 */
export function readAuthParams(value: string, scheme: string): Record<string, string> | undefined {
  const head = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) +/.exec(value);
  if (head?.[1]?.toLowerCase() !== scheme) return undefined;
  const params: Record<string, string> = {};
  const each =
    /([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))(?:, *|$)/y;
  each.lastIndex = head[0].length;
  while (each.lastIndex < value.length) {
    const [, name, quoted, token = ''] = each.exec(value) ?? [];
    if (name === undefined || Object.hasOwn(params, name)) return undefined;
    params[name] = quoted === undefined ? token : quoted.replaceAll(/\\(.)/g, '$1');
  }
  return params;
}
