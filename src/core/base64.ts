import { invariant } from './invariant.ts';

/**
 * Base64 of texts that begin alike, with the beginning encoded once: hands out what encodes a text from its
 * rest. The last characters of the beginning must be ASCII, because they are encoded together with the rest.
 */
export function startBase64(beginning: string, alphabet: 'base64' | 'base64url'): (rest: string) => string {
  const bytes = Buffer.from(beginning, 'utf8');
  // Three bytes make four characters; what is left over waits for what follows.
  const whole = bytes.length - (bytes.length % 3);
  const encoded = bytes.toString(alphabet, 0, whole);
  const left = bytes.toString('latin1', whole);
  invariant(/^[\x20-\x7e]*$/.test(left), 'the beginning of a base64 text ends in ASCII');
  return (rest) => encoded + Buffer.from(left + rest, 'utf8').toString(alphabet);
}
