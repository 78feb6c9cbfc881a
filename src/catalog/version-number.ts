/** A version in the strict grammar of Semantic Versioning 2.0.0, section 2 and 9 to 11. */
const VERSION =
  /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/;

export const VERSION_CHARACTERS_MAX = 64;

const NUMBER = /^\d+$/;

/** Whether the text is one exact version: no range, no `v` in front, no part left out. */
export function isVersionNumber(text: string): boolean {
  return text.length <= VERSION_CHARACTERS_MAX && VERSION.test(text);
}

/** Precedence of two versions (section 11): negative, zero or positive. Build metadata does not count. */
export function compareVersions(a: string, b: string): number {
  const left = split(a);
  const right = split(b);
  for (const at of [0, 1, 2]) {
    const difference = Number(left.core[at]) - Number(right.core[at]);
    if (difference !== 0) return difference;
  }
  return comparePrereleases(left.prerelease, right.prerelease);
}

function split(version: string): { core: string[]; prerelease: string[] } {
  const [, major = '', minor = '', patch = '', prerelease] = VERSION.exec(version) ?? [];
  return { core: [major, minor, patch], prerelease: prerelease === undefined ? [] : prerelease.split('.') };
}

/** A version with a prerelease comes before the one without; otherwise the first difference decides. */
function comparePrereleases(a: string[], b: string[]): number {
  if (a.length === 0 || b.length === 0) return b.length - a.length;
  for (const [at, left] of a.entries()) {
    const right = b[at];
    if (right === undefined) return 1;
    const difference = compareIdentifiers(left, right);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Numbers by value and before words; words by ASCII. A number may be longer than a double is exact. */
function compareIdentifiers(a: string, b: string): number {
  if (a === b) return 0;
  const isNumber = NUMBER.test(a);
  if (isNumber !== NUMBER.test(b)) return isNumber ? -1 : 1;
  if (isNumber && a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : 1;
}
