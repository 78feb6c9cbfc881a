/** What a terminal obeys instead of showing it: control characters, and marks that turn the direction of text. */
const OBEYED = /[^\P{Cc}\t\n]|[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\p{Cs}/gu;

/** Text of which servers and files of others are a part, so that it does nothing to a terminal but appear. */
export function toPrintable(text: string): string {
  return text.replace(OBEYED, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same on one line: what somebody else wrote cannot look like a line of ours. */
export function toOneLine(text: string): string {
  return toPrintable(text).replaceAll('\n', '\\n');
}
