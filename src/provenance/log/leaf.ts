import { invariant } from '../../core/invariant.ts';
import { Problem } from '../../core/problem.ts';

/** Every field that a leaf may have, in any kind of leaf. */
type Fields = {
  /** `publisher/tool`. */
  tool: string;
  version: string;
  /** SHA-256 of the code, 64 hex digits. */
  sha256: string;
  /** SHA-256 of the version's manifest, 64 hex digits; of versions from before manifests, of their tools list. */
  manifest: string;
  publisher: string;
  /** The publisher who gives a tool away. */
  from: string;
  /** The publisher who takes it over. */
  to: string;
  /** The format of a release key. */
  format: string;
  /** The id of a release key. */
  key: string;
  /** A release key itself: its canonical bytes as base64. */
  public: string;
  /** When a release key ends, in Unix seconds; 0 for never. */
  expires: number;
  /** The log that a contract anchors. */
  log: string;
  chain: number;
  /** `0x` and 40 lower case hex digits. */
  contract: string;
  /** When it was logged, in Unix seconds. */
  time: number;
};

/** The kinds of leaves, with the fields of each in their order (mcp-log/v1). */
const KINDS = {
  publish: ['tool', 'version', 'sha256', 'manifest', 'publisher', 'time'],
  yank: ['tool', 'version', 'publisher', 'time'],
  transfer: ['tool', 'from', 'to', 'time'],
  'key-add': ['publisher', 'format', 'key', 'public', 'expires', 'time'],
  'key-revoke': ['publisher', 'format', 'key', 'time'],
  'anchor-contract': ['log', 'chain', 'contract', 'time'],
} as const satisfies Record<string, readonly (keyof Fields)[]>;

export type LeafKind = keyof typeof KINDS;
export type LeafOf<Kind extends LeafKind> = { kind: Kind } & Pick<Fields, (typeof KINDS)[Kind][number]>;

/** What the version log says happened. */
export type Leaf = { [Kind in LeafKind]: LeafOf<Kind> }[LeafKind];

/** One publication: which code a version of a tool is, who published it and when. */
export type PublishLeaf = LeafOf<'publish'>;

/** The longest entry the log takes; a tile of entries carries a 16-bit length. */
export const ENTRY_BYTES_MAX = 65_535;

const SEGMENT = '[a-z0-9][a-z0-9._-]{0,63}';
const NUMBER = '(?:0|[1-9][0-9]{0,8})';
const HASH = /^[0-9a-f]{64}$/;
const PUBLISHER = /^[a-z0-9][a-z0-9:._-]{0,127}$/;
const COUNT = /^(?:0|[1-9][0-9]{0,15})$/;

/** No field holds a line feed or a space, so a leaf has one spelling and every spelling has one meaning. */
const GRAMMAR = {
  tool: new RegExp(`^${SEGMENT}(?:/${SEGMENT})?$`),
  version: new RegExp(
    `^${NUMBER}\\.${NUMBER}\\.${NUMBER}(?:-[0-9A-Za-z.-]{1,64})?(?:\\+[0-9A-Za-z.-]{1,64})?$`,
  ),
  sha256: HASH,
  manifest: HASH,
  publisher: PUBLISHER,
  from: PUBLISHER,
  to: PUBLISHER,
  format: /^(?:ssh|openpgp|minisign)$/,
  key: /^[0-9A-Za-z+/:=_-]{1,128}$/,
  public: /^[0-9A-Za-z+/]{2,60000}={0,2}$/,
  expires: COUNT,
  log: /^(?:versions|receipts)$/,
  chain: /^[1-9][0-9]{0,15}$/,
  contract: /^0x[0-9a-f]{40}$/,
  time: COUNT,
} as const satisfies Record<keyof Fields, RegExp>;

const COUNTS: readonly string[] = ['expires', 'chain', 'time'] satisfies (keyof Fields)[];
const FORMAT = 'mcp-log/v1';

/** The bytes of a leaf; `(printf '\0'; cat entry) | sha256sum` is its hash. */
export function encodeLeaf(leaf: Leaf): Buffer {
  const values = valuesOf(leaf);
  const lines = KINDS[leaf.kind].map((field) => {
    const value = String(values[field]);
    if (!isLeafField(field, value)) {
      throw new Problem('malformed-request', {
        detail: `The version log cannot spell this ${field}: it must match ${GRAMMAR[field].source}.`,
      });
    }
    return `${field} ${value}\n`;
  });
  const entry = Buffer.from(`${FORMAT} ${leaf.kind}\n${lines.join('')}`, 'ascii');
  invariant(entry.length <= ENTRY_BYTES_MAX, 'the grammar bounds an entry');
  return entry;
}

/** The leaf these bytes spell; undefined when they are not exactly what `encodeLeaf` writes. */
export function decodeLeaf(entry: Uint8Array): Leaf | undefined {
  if (entry.length > ENTRY_BYTES_MAX) return undefined;
  const [header = '', ...lines] = Buffer.from(entry).toString('latin1').split('\n');
  const kind = readKind(header);
  // What ends in a line feed splits into one more, empty piece.
  if (!kind || lines.length !== KINDS[kind].length + 1 || lines.at(-1) !== '') return undefined;
  const values: Partial<Record<keyof Fields, string | number>> = {};
  for (const [at, field] of KINDS[kind].entries()) {
    const value = readField(field, lines[at] ?? '');
    if (value === undefined) return undefined;
    values[field] = COUNTS.includes(field) ? Number(value) : value;
  }
  return toLeaf(kind, values);
}

/** What a log holds once only: the same version is never published twice, whatever its code. */
export function dedupKeyOf(leaf: Leaf | Pick<PublishLeaf, 'kind' | 'tool' | 'version'>): string {
  switch (leaf.kind) {
    case 'publish':
    case 'yank':
      return `${leaf.kind} ${leaf.tool} ${leaf.version}`;
    case 'transfer':
      return `transfer ${leaf.tool} ${leaf.from} ${leaf.to} ${leaf.time}`;
    case 'key-add':
    case 'key-revoke':
      return `${leaf.kind} ${leaf.publisher} ${leaf.key}`;
    case 'anchor-contract':
      return `anchor-contract ${leaf.log} ${leaf.chain} ${leaf.contract}`;
    default:
      return leaf satisfies never;
  }
}

function readKind(header: string): LeafKind | undefined {
  return Object.keys(KINDS)
    .filter((kind): kind is LeafKind => kind in KINDS)
    .find((kind) => header === `${FORMAT} ${kind}`);
}

function readField(field: keyof Fields, line: string): string | undefined {
  const value = line.slice(field.length + 1);
  return line === `${field} ${value}` && isLeafField(field, value) ? value : undefined;
}

/** Whether a leaf could say this in that field. */
export function isLeafField(field: keyof Fields, value: string): boolean {
  if (!GRAMMAR[field].test(value)) return false;
  if (COUNTS.includes(field)) return Number.isSafeInteger(Number(value));
  // Base64 has one spelling when its spare bits are zero, which no pattern says.
  return field !== 'public' || Buffer.from(value, 'base64').toString('base64') === value;
}

/** A leaf of any kind is read field by field, of which its kind has only some. */
function valuesOf(leaf: Leaf): Partial<Fields> {
  return leaf;
}

/** The values were read by the fields of the kind, each by its own grammar. */
function toLeaf(kind: LeafKind, values: Partial<Record<keyof Fields, string | number>>): Leaf {
  return { kind, ...values } as Leaf;
}
