/** MONEY.md, rule 6: a call that costs nothing answers with a reason and no content. */
export const DETAIL_BYTES_MAX = 512;

/** Text from a tool as it may stand in a `detail`: one line, without control characters, at most 512 bytes. */
export function toPublicDetail(text: string): string {
  // Four bytes a character at most: cutting first keeps the work small whatever the tool wrote.
  const line = text
    .slice(0, DETAIL_BYTES_MAX * 4)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .trim();
  return cutToBytes(line, DETAIL_BYTES_MAX);
}

/** The longest beginning of `text` that fits into `bytesMax`, with an ellipsis where something is missing. */
export function cutToBytes(text: string, bytesMax: number): string {
  if (Buffer.byteLength(text) <= bytesMax) return text;
  const ellipsis = '…';
  let cut = text.slice(0, bytesMax);
  while (Buffer.byteLength(cut) > bytesMax - Buffer.byteLength(ellipsis)) cut = cut.slice(0, -1);
  // A pair of surrogates that was cut in two leaves its first half behind.
  return `${cut.replace(/\p{Surrogate}$/u, '')}${ellipsis}`;
}
