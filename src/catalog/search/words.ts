const WORD_CHARACTERS_MAX = 40;

/** The words of texts and names, lower case, letters and digits only: `wordCount` and `word_count` are two. */
export function wordsOf(...texts: string[]): string[] {
  const spaced = texts.join(' ').replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2');
  const words =
    spaced
      .normalize('NFKC')
      .toLowerCase()
      .match(/[\p{L}\p{N}\p{M}]+/gu) ?? [];
  return words.map((word) => word.slice(0, WORD_CHARACTERS_MAX));
}
