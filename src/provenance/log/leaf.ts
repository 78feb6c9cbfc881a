import { invariant } from '../../core/invariant.ts';
import { Problem } from '../../core/problem.ts';

/** One publication: which code a version of a tool is, who published it and when. */
export type PublishLeaf = {
  /** `publisher/tool`. */
  tool: string;
  version: string;
  /** SHA-256 of the code, 64 hex digits. */
  sha256: string;
  /** SHA-256 of the canonical tools list, 64 hex digits. */
  manifest: string;
  publisher: string;
  /** Unix seconds. */
  time: number;
};

/** The longest entry the log takes; a tile of entries carries a 16-bit length. */
export const ENTRY_BYTES_MAX = 65_535;

const SEGMENT = '[a-z0-9][a-z0-9._-]{0,63}';
const NUMBER = '(?:0|[1-9][0-9]{0,8})';
const HASH = '[0-9a-f]{64}';

/** No field holds a line feed or a space, so a leaf has one spelling and every spelling has one meaning. */
const FIELDS = {
  tool: new RegExp(`^${SEGMENT}(?:/${SEGMENT})?$`),
  version: new RegExp(
    `^${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-[0-9A-Za-z.-]{1,64})?(?:\\+[0-9A-Za-z.-]{1,64})?$`,
  ),
  sha256: new RegExp(`^${HASH}$`),
  manifest: new RegExp(`^${HASH}$`),
  publisher: /^[a-z0-9][a-z0-9:._-]{0,127}$/,
  time: /^(?:0|[1-9][0-9]{0,15})$/,
} as const satisfies Record<keyof PublishLeaf, RegExp>;

const ORDER = ['tool', 'version', 'sha256', 'manifest', 'publisher', 'time'] as const;
const HEADER = 'mcp-log/v1 publish';

/** The bytes of a leaf; `(printf '\0'; cat entry) | sha256sum` is its hash. */
export function encodeLeaf(leaf: PublishLeaf): Buffer {
  const lines = ORDER.map((field) => {
    const value = String(leaf[field]);
    if (!isField(field, value)) {
      throw new Problem('malformed-request', {
        detail: `The version log cannot spell this ${field}: it must match ${FIELDS[field].source}.`,
      });
    }
    return `${field} ${value}\n`;
  });
  const entry = Buffer.from(`${HEADER}\n${lines.join('')}`, 'ascii');
  invariant(entry.length <= ENTRY_BYTES_MAX, 'the grammar bounds an entry');
  return entry;
}

/** The leaf these bytes spell; undefined when they are not exactly what `encodeLeaf` writes. */
export function decodeLeaf(entry: Uint8Array): PublishLeaf | undefined {
  if (entry.length > ENTRY_BYTES_MAX) return undefined;
  const [header, ...lines] = Buffer.from(entry).toString('latin1').split('\n');
  // What ends in a line feed splits into one more, empty piece.
  if (header !== HEADER || lines.length !== ORDER.length + 1 || lines.at(-1) !== '') return undefined;
  const values = ORDER.map((field, index) => readField(field, lines[index] ?? ''));
  const [tool, version, sha256, manifest, publisher, time] = values;
  if (!tool || !version || !sha256 || !manifest || !publisher || !time) return undefined;
  return { tool, version, sha256, manifest, publisher, time: Number(time) };
}

/** What a log holds once only: the same version is never published twice, whatever its code. */
export function dedupKeyOf(leaf: PublishLeaf): string {
  return `publish ${leaf.tool} ${leaf.version}`;
}

function readField(field: (typeof ORDER)[number], line: string): string | undefined {
  const value = line.slice(field.length + 1);
  return line === `${field} ${value}` && isField(field, value) ? value : undefined;
}

function isField(field: (typeof ORDER)[number], value: string): boolean {
  return FIELDS[field].test(value) && (field !== 'time' || Number.isSafeInteger(Number(value)));
}
