/** Of an `Authorization` with one or several schemes, what follows `Payment`; undefined when it is not there. */
export function findPaymentScheme(header: string): string | undefined {
  for (const part of splitOutsideQuotes(header)) {
    const match = /^\s*payment(?:\s+(.*))?$/is.exec(part);
    if (match) return (match[1] ?? '').trim();
  }
  return undefined;
}

/** The comma stands between schemes, and also inside quoted parameters (RFC 9110, 11.6.2). */
function splitOutsideQuotes(header: string): string[] {
  if (!header.includes('"')) return header.split(',');
  const parts: string[] = [];
  let [start, isQuoted] = [0, false];
  for (let at = 0; at < header.length; at += 1) {
    const character = header[at];
    if (isQuoted && character === '\\') at += 1;
    else if (character === '"') isQuoted = !isQuoted;
    else if (character === ',' && !isQuoted) {
      parts.push(header.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(header.slice(start));
  return parts;
}
