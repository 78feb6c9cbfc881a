import { createGunzip, createInflateRaw } from 'node:zlib';

export type Inflated =
  /** `usedBytes` is how much of the input belonged to the stream. */
  | { kind: 'done'; bytes: Buffer; usedBytes: number }
  | { kind: 'too-large' }
  | { kind: 'broken'; why: string };

/** Inflates a stream, and stops at the first byte too many: a bomb costs what is allowed and no more. */
export async function inflate(
  format: 'gzip' | 'deflate',
  input: Buffer,
  bytesMax: number,
): Promise<Inflated> {
  const stream = format === 'gzip' ? createGunzip() : createInflateRaw();
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.end(input);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // Leaving the loop destroys the stream.
      if (bytes > bytesMax) return { kind: 'too-large' };
      chunks.push(chunk);
    }
  } catch (error) {
    return { kind: 'broken', why: error instanceof Error ? error.message : 'unreadable' };
  }
  return { kind: 'done', bytes: Buffer.concat(chunks), usedBytes: stream.bytesWritten };
}
