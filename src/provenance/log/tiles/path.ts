import { type EdgePlace, isTile, TILE_WIDTH } from './tile.ts';

/** A tile of hashes at its level, or of entries. */
export type TilePath = Omit<EdgePlace, 'level'> & { level: number | 'entries' };

const PATH = /^(0|[1-9][0-9]?|entries)\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;

/** The path of a tile behind `/tile/` (C2SP tlog-tiles): `0/x001/x234/067`, and `.p/<width>` when it is not full. */
export function encodeTilePath({ level, n, width }: TilePath): string {
  const groups = n.toLocaleString('en-US', { minimumIntegerDigits: 3 }).split(',');
  const path = groups
    .map((group, at) => (at < groups.length - 1 ? 'x' : '') + group.padStart(3, '0'))
    .join('/');
  return `${level}/${path}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/** The tile that a path names; undefined when it is not what `encodeTilePath` writes, or there can be no such tile. */
export function parseTilePath(path: string): TilePath | undefined {
  const [, level, groups, width] = PATH.exec(path) ?? [];
  if (level === undefined || groups === undefined) return undefined;
  const tile: TilePath = {
    level: level === 'entries' ? 'entries' : Number(level),
    n: Number(groups.replace(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  if (!isTile({ ...tile, level: tile.level === 'entries' ? 0 : tile.level })) return undefined;
  return encodeTilePath(tile) === path ? tile : undefined;
}
