/**
 * The text with one piece of it replaced. Throws where the piece is not there exactly as often as it says: a mutant
 * that no longer changes what it means to change would be "survived" by accident.
 *
 * @param {string} text
 * @param {{ file: string, find: string, replace: string, times?: number }} piece
 * @returns {string}
 */
export function replacePiece(text, { file, find, replace, times = 1 }) {
  const parts = text.split(find);
  if (parts.length - 1 !== times) {
    throw new Error(`mutant: ${file} has ${parts.length - 1} times, and not ${times}: ${find}`);
  }
  return parts.join(replace);
}
