/** The text with one piece of it replaced; throws where the piece is not there exactly as often as it says. */
export function replacePiece(
  text: string,
  piece: { file: string; find: string; replace: string; times?: number },
): string;
