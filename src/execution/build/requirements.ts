import { Problem } from '../../core/problem.ts';

/** One wheel to install: exactly this version, with one of these contents. */
export type Requirement = {
  /** As PyPI compares names (PEP 503). */
  name: string;
  version: string;
  /** When it is needed (PEP 508), as it was written; empty when always. */
  marker: string;
  /** SHA-256, hex, sorted. */
  hashes: readonly string[];
};

const TEXT_BYTES_MAX = 512 * 1024;
const REQUIREMENTS_MAX = 300;
const HASHES_MAX = 300;
const MARKER_CHARACTERS_MAX = 500;

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?/;
const EXTRAS = /^\s*\[[A-Za-z0-9._, -]{0,200}\]/;
/** A public version, with a local label perhaps (PEP 440); no wildcard and no second clause. */
const VERSION = /^\s*==\s*([A-Za-z0-9][A-Za-z0-9.!+_-]{0,63})(?=\s|;|$)/;
const HASH = /^--hash[= ]sha256:([0-9a-fA-F]{64})(?=\s|$)/;

/**
 * The requirements of a lock as `pip-compile --generate-hashes` and `uv export` write it (pip's "Requirements File
 * Format"). Only what cannot lead elsewhere is read, and pip is given our own spelling of it.
 */
export function readRequirements(content: Uint8Array): Requirement[] {
  if (content.length > TEXT_BYTES_MAX) throw refuse(`it has over ${TEXT_BYTES_MAX} bytes`);
  const requirements = joinLines(decode(content)).flatMap(readLine);
  if (requirements.length > REQUIREMENTS_MAX) throw refuse(`it names over ${REQUIREMENTS_MAX} packages`);
  return requirements.sort((a, b) => (spell(a) < spell(b) ? -1 : 1));
}

/** The file that pip is given: the same text for the same requirements. */
export function spellRequirements(requirements: readonly Requirement[]): string {
  return requirements.map((requirement) => `${spell(requirement)}\n`).join('');
}

function spell({ name, version, marker, hashes }: Requirement): string {
  const condition = marker === '' ? '' : ` ; ${marker}`;
  return `${name}==${version}${condition} ${hashes.map((hash) => `--hash=sha256:${hash}`).join(' ')}`;
}

type Line = { number: number; text: string };

/** Physical lines joined where they end in a backslash, without comments; each with the number it begins at. */
function joinLines(text: string): Line[] {
  const lines: Line[] = [];
  let open: Line | undefined;
  for (const [index, raw] of text.split(/\r\n|[\n\r]/).entries()) {
    const isComment = /^\s*#/.test(raw);
    const continues = !isComment && raw.endsWith('\\');
    // A comment line ends what was continued, as it does for pip.
    const piece = isComment ? '' : raw.slice(0, continues ? -1 : undefined);
    open = { number: open?.number ?? index + 1, text: `${open?.text ?? ''} ${piece}` };
    if (continues) continue;
    lines.push(open);
    open = undefined;
  }
  if (open !== undefined) lines.push(open);
  return lines
    .map(({ number, text: joined }) => ({ number, text: joined.replace(/(^|\s)#.*$/, '').trim() }))
    .filter(({ text: stripped }) => stripped !== '');
}

function readLine(line: Line): Requirement[] {
  const { text } = line;
  const say = (why: string) => refuse(`line ${line.number} ${why}`);
  if (text.startsWith('-')) throw say('is an option; the index is chosen by this gateway, so remove it');
  if (/\$\{?\w/.test(text)) throw say('names an environment variable; write what it stands for');
  if (/:\/\/|\s@\s|^[./~]|\.whl\b|^\w+@/.test(text)) {
    throw say('is a URL or a path; name a package of the index, as in "name==1.2.3 --hash=sha256:..."');
  }
  const name = NAME.exec(text)?.[0];
  if (name === undefined) throw say('does not begin with the name of a package');
  const afterName = text.slice(name.length).replace(EXTRAS, '');
  const pinned = VERSION.exec(afterName);
  if (!pinned) throw say(`does not pin ${name} with "=="; pin the one version that was hashed`);
  const rest = afterName.slice(pinned[0].length).trim();
  const options = rest.search(/(?:^|\s)--/);
  const condition = options < 0 ? rest : rest.slice(0, options);
  const hashes = options < 0 ? [] : readHashes(rest.slice(options).trim(), say);
  if (hashes.length === 0)
    throw say(`has no "--hash=sha256:..." for ${name}; pip-compile --generate-hashes writes them`);
  if (hashes.length > HASHES_MAX) throw say(`has over ${HASHES_MAX} hashes`);
  return [
    {
      name: name.toLowerCase().replace(/[-_.]+/g, '-'),
      version: pinned[1] ?? '',
      marker: readMarker(condition.trim(), say),
      hashes: [...new Set(hashes)].sort(),
    },
  ];
}

function readHashes(text: string, say: (why: string) => Problem): string[] {
  const hashes: string[] = [];
  let rest = text;
  while (rest !== '') {
    const [whole, hash = ''] = HASH.exec(rest) ?? [];
    if (whole === undefined)
      throw say('has an option that is not "--hash=sha256:" with 64 hex digits; remove it');
    hashes.push(hash.toLowerCase());
    rest = rest.slice(whole.length).trim();
  }
  return hashes;
}

const MARKER_TOKENS =
  /\s*(?:(?:python_version|python_full_version|os_name|sys_platform|platform_release|platform_system|platform_version|platform_machine|platform_python_implementation|implementation_name|implementation_version|extra)(?![\w.])|(?:not\s+in|in|and|or)(?!\w)|===|==|~=|!=|<=|>=|<|>|"[\w .,*+!-]{0,100}"|'[\w .,*+!-]{0,100}'|[()])/gy;

function readMarker(text: string, say: (why: string) => Problem): string {
  if (text === '') return '';
  const marker = text.startsWith(';') ? text.slice(1).trim() : '';
  const isWhole = [...marker.matchAll(MARKER_TOKENS)].map(([token]) => token).join('') === marker;
  if (marker === '' || marker.length > MARKER_CHARACTERS_MAX || !isWhole)
    throw say('has something after the version that is neither a hash nor a marker');
  return marker.replace(/\s+/g, ' ');
}

function decode(content: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    throw refuse('it is not UTF-8');
  }
}

function refuse(why: string): Problem {
  return new Problem('invalid-code', { detail: `requirements.txt: ${why}.`, members: { field: 'files' } });
}
