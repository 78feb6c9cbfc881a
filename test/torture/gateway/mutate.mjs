/** A loader hook that replaces pieces of source text as they are imported; see `../mutants.ts`. */
import { replacePiece } from './replace-piece.mjs';

let pieces = [];
let port;

export function initialize(data) {
  pieces = data.pieces;
  port = data.port;
}

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  const mine = pieces.filter(({ file }) => url.split('?')[0].endsWith(`/${file}`));
  if (mine.length === 0 || !loaded.source) return loaded;
  const source = mine.reduce((text, piece) => replacePiece(text, piece), String(loaded.source));
  for (const { file } of mine) port.postMessage(file);
  return { ...loaded, source };
}
