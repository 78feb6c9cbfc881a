import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freemem } from 'node:os';

const MIB = 2 ** 20;
/** What a whole run writes, and keeps in the system's cache, and some more. */
const BYTES_MAX = 8_192 * MIB;
/** Of what is free. */
const SHARE_MAX = 0.4;
const CHUNK_BYTES = 256 * MIB;
const CHUNKS_WITHIN_MS = 120_000;

/**
 * Writes to memory once and gives it back. A virtual machine gets its memory from its host page by page, at the first
 * touch, for several microseconds each: whoever writes more would be charged with more of them, and the first rounds
 * with most.
 */
export async function touchMemory(bytesFree: number = freemem()): Promise<void> {
  const chunks = Math.floor(Math.min(BYTES_MAX, SHARE_MAX * bytesFree) / CHUNK_BYTES);
  // A process of its own: what it had goes back to the system as a whole.
  const code = `const kept = []; for (let at = 0; at < ${chunks}; at += 1) kept.push(Buffer.alloc(${CHUNK_BYTES}, 1));`;
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore', timeout: CHUNKS_WITHIN_MS });
  await once(child, 'exit');
}
