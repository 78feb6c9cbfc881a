import type { Jail } from './backend.ts';
import { createLineSplitter, type JsonObject, type LineSplitter, readJsonLine } from './json-lines.ts';
import type { FailureReason } from './outcome.ts';

export type OutputListener = {
  /** `bytes` is how long its line was. */
  onMessage(message: JsonObject, bytes: number): void;
  /** Called at most once; no message follows it. */
  onBroken(reason: FailureReason, detail: string): void;
};

export type ServerOutput = {
  /** Stops listening: what comes later is thrown away unread. */
  stop(): void;
  /** The end of what the server wrote to stderr, at most 4 KB. */
  stderrTail(): string;
};

const STDERR_TAIL_BYTES = 4096;
/** An unfinished line this long that does not start an object will never be a message. */
const LINE_PEEK_BYTES = 4096;

/**
 * Reads what a jail writes: counts every byte of stdout and stderr against one budget, and hands over the
 * messages that are well formed.
 */
export function readServerOutput(
  jail: Pick<Jail, 'stdout' | 'stderr'>,
  outputBytesMax: number,
  listener: OutputListener,
): ServerOutput {
  let isListening = true;
  let bytesLeft = outputBytesMax;
  let tail = Buffer.alloc(0);

  const stop = () => {
    isListening = false;
    jail.stdout.destroy();
    jail.stderr.destroy();
  };
  const breakOff = (reason: FailureReason, detail: string) => {
    if (!isListening) return;
    stop();
    listener.onBroken(reason, detail);
  };
  const spend = (chunk: Buffer) => {
    bytesLeft -= chunk.length;
    if (bytesLeft < 0) breakOff('output-too-large', `The server wrote more than ${outputBytesMax} bytes.`);
  };
  const splitter = createLineSplitter((line) => {
    if (!isListening) return;
    const reading = readJsonLine(line);
    if (reading.kind === 'object') listener.onMessage(reading.value, line.length);
    if (reading.kind === 'broken') breakOff('protocol', `The server ${reading.why}`);
  });
  jail.stdout.on('data', (chunk: Buffer) => {
    spend(chunk);
    if (isListening) splitter.push(chunk);
    if (isEndlessText(splitter)) breakOff('protocol', 'The server wrote an endless line that is not JSON.');
  });
  jail.stderr.on('data', (chunk: Buffer) => {
    spend(chunk);
    if (isListening) tail = Buffer.concat([tail, chunk]).subarray(-STDERR_TAIL_BYTES);
  });
  jail.stdout.on('end', () => breakOff('crashed', 'The server ended before it answered.'));
  for (const stream of [jail.stdout, jail.stderr]) {
    // A broken pipe says only that the server is gone, which the end of stdout says as well.
    stream.on('error', () => {});
  }
  // Whoever waited for the jail to be ready left it paused.
  jail.stdout.resume();
  return { stop, stderrTail: () => decodeTail(tail) };
}

/** A long line may still become one large message; one that does not begin like a message cannot. */
function isEndlessText(splitter: LineSplitter): boolean {
  const { bytes, first } = splitter.pending();
  return bytes > LINE_PEEK_BYTES && first !== undefined && !/^\s*\{/.test(first.toString('latin1', 0, 64));
}

/** The tail may begin inside a UTF-8 sequence: those bytes are dropped. */
function decodeTail(tail: Buffer): string {
  let start = 0;
  while (start < 3 && ((tail[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return tail.toString('utf8', start);
}
