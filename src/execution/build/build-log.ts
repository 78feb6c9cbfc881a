import type { Readable } from 'node:stream';

/** The last of what a build said, as text for its publisher. */
export type BuildLog = {
  add(line: string): void;
  /** At most 64 KB. */
  text(): string;
};

const LOG_BYTES_MAX = 64 * 1024;
const OMITTED = '... the beginning is left out ...\n';
/** Colours and cursor movements (ECMA-48), and whatever else would act on a terminal. */
const ESCAPES = /\p{Cc}\[[0-9;?]*[A-Za-z]/gu;
const CONTROLS = /(?![\n\t])[\p{Cc}\p{Cf}\p{Co}]|\uFFFD/gu;

/** Keeps the end of a stream: errors come last. */
export function keepLog(stream: Readable): BuildLog {
  let kept = Buffer.alloc(0);
  let isCut = false;
  const add = (bytes: Buffer) => {
    kept = Buffer.concat([kept, bytes]);
    if (kept.length <= LOG_BYTES_MAX) return;
    kept = Buffer.from(kept.subarray(-LOG_BYTES_MAX));
    isCut = true;
  };
  stream.on('data', add).on('error', () => {});
  return {
    add: (line) => add(Buffer.from(`${line}\n`)),
    text() {
      const text = kept.toString().replace(ESCAPES, '').replace(CONTROLS, '');
      return isCut ? `${OMITTED}${text.slice(OMITTED.length)}` : text;
    },
  };
}
