import { webcrypto } from 'node:crypto';
import { sha256Hex } from '../core/bytes.ts';
import { invariant } from '../core/invariant.ts';
import type { Code } from './backend.ts';

/** From here on hashing would keep other calls waiting, and is done beside them. */
const BYTES_MAX_HERE = 256 * 1024;

/** The code that runs is the code that was published. Throws when it is not: that is our bug. */
export async function checkCode({ archive, sha256 }: Code): Promise<void> {
  const found = archive.length <= BYTES_MAX_HERE ? sha256Hex(archive) : await hashBeside(archive);
  invariant(found === sha256, `the stored code of ${sha256} has changed`);
}

async function hashBeside(archive: Uint8Array): Promise<string> {
  const digest = await webcrypto.subtle.digest('SHA-256', archive);
  return Buffer.from(digest).toString('hex');
}
