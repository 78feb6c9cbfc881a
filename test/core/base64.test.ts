import fc from 'fast-check';
import { expect, test } from 'vitest';
import { startBase64 } from '../../src/core/base64.ts';

test('a text begun once and ended many times is encoded like the whole of it', () => {
  const ascii = fc.string({ unit: 'grapheme-ascii' });
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      ascii,
      fc.string({ unit: 'grapheme' }),
      (text, end, rest) => {
        for (const alphabet of ['base64', 'base64url'] as const) {
          const beginning = `${text}"${end}"`;
          const encoded = startBase64(`${beginning}:`, alphabet)(rest);
          expect(encoded).toBe(Buffer.from(`${beginning}:${rest}`, 'utf8').toString(alphabet));
        }
      },
    ),
  );
});

test('a beginning that would be cut inside a character is refused', () => {
  expect(() => startBase64('aé', 'base64')).not.toThrow();
  expect(() => startBase64('é', 'base64')).toThrow();
});
