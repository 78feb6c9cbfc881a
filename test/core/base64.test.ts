import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeAround } from '../../src/core/base64.ts';

test('a text of which only one place changes is encoded like the whole of it, whatever stands there', () => {
  const text = fc.string({ unit: 'grapheme' });
  const ascii = fc.string({ unit: 'grapheme-ascii' });
  fc.assert(
    fc.property(text, text, fc.array(ascii, { minLength: 2, maxLength: 5 }), (before, after, places) => {
      for (const alphabet of ['base64', 'base64url'] as const) {
        const encode = encodeAround(before, after, alphabet);
        for (const place of places) {
          expect(encode(place)).toBe(Buffer.from(before + place + after, 'utf8').toString(alphabet));
        }
      }
    }),
  );
});
