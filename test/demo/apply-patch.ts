const HUNK = /^@@ -(\d+),(\d+) \+\d+,\d+ @@$/;

/** Applies a unified diff strictly: a context or deleted line that does not match throws. */
export function applyPatch(before: string, patch: string): string {
  const source = before.match(/[^\n]*\n|[^\n]+/g) ?? [];
  const result: string[] = [];
  let position = 0;
  for (const { mark, line } of readPatch(patch)) {
    if (mark === '@') {
      const [, start = '', count = ''] = HUNK.exec(line) ?? [];
      // An empty range names the line before it.
      const hunkStart = Number(start) - (count === '0' ? 0 : 1);
      result.push(...source.slice(position, hunkStart));
      position = hunkStart;
      continue;
    }
    if (mark !== '+') {
      if (source[position] !== line) throw new Error(`line ${position + 1} does not match the patch`);
      position += 1;
    }
    if (mark !== '-') result.push(line);
  }
  return [...result, ...source.slice(position)].join('');
}

function readPatch(patch: string): { mark: string; line: string }[] {
  const lines = patch.split('\n').slice(0, -1);
  return lines.slice(2).flatMap((line, index, body) => {
    if (line.startsWith('\\')) return [];
    if (line.startsWith('@')) return [{ mark: '@', line }];
    const hasEnd = !body[index + 1]?.startsWith('\\');
    return [{ mark: line.slice(0, 1), line: `${line.slice(1)}${hasEnd ? '\n' : ''}` }];
  });
}
