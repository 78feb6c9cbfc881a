import { createHmac, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { createMac } from '../../src/core/bytes.ts';

/** Around the block of the hash and around what is set aside for a message, and back to short ones. */
const LENGTHS = [
  0, 1, 31, 32, 33, 55, 56, 63, 64, 65, 127, 128, 129, 1_365, 1_366, 4_095, 4_096, 4_097, 100_000, 5, 0,
];

test('a MAC is the HMAC-SHA256 of node:crypto, for keys and messages of every length', () => {
  for (const key of LENGTHS.map((bytes) => randomBytes(bytes))) {
    const mac = createMac(key);
    for (const message of LENGTHS.map((bytes) => randomBytes(bytes))) {
      expect(mac(message, 'hex')).toBe(createHmac('sha256', key).update(message).digest('hex'));
    }
  }
});

test('a text is signed as its UTF-8, also after a longer one', () => {
  const key = Buffer.from('a key as text');
  const mac = createMac(key);
  for (const text of LENGTHS.map((chars) => 'aé€😀'.repeat(chars).slice(0, chars))) {
    expect(mac(text, 'base64url')).toBe(createHmac('sha256', key).update(text, 'utf8').digest('base64url'));
  }
});

test('the vectors of RFC 4231', () => {
  const vectors = [
    ['0b'.repeat(20), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [
      Buffer.from('Jefe').toString('hex'),
      'what do ya want for nothing?',
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [
      'aa'.repeat(131),
      'Test Using Larger Than Block-Size Key - Hash Key First',
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
  ] as const;
  for (const [key, message, expected] of vectors) {
    expect(createMac(Buffer.from(key, 'hex'))(message, 'hex')).toBe(expected);
  }
});
