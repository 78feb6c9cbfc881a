import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveKeyText, hashKey, hasScope, newKeyText, parseKey, SCOPES } from '../../src/keys/index.ts';

describe('the text of a key', () => {
  it('is mcp_ and 48 hex digits, and never the same twice', () => {
    const texts = new Set(Array.from({ length: 1_000 }, newKeyText));
    expect(texts.size).toBe(1_000);
    for (const text of texts) expect(text).toMatch(/^mcp_[0-9a-f]{48}$/);
  });

  it('is derived alike for the same claim and secret, and differently for any other', () => {
    const secret = Buffer.alloc(32, 7);
    const text = deriveKeyText(secret, 'evm:a');
    expect(parseKey(text)).toBe(text);
    expect(deriveKeyText(secret, 'evm:a')).toBe(text);
    expect(deriveKeyText(secret, 'evm:b')).not.toBe(text);
    expect(deriveKeyText(Buffer.alloc(32, 8), 'evm:a')).not.toBe(text);
  });

  it.each([
    ['nothing', undefined],
    ['an empty text', ''],
    ['another prefix', `mcq_${'a'.repeat(48)}`],
    ['capitals', `mcp_${'A'.repeat(48)}`],
    ['a digit too few', `mcp_${'a'.repeat(47)}`],
    ['a digit too many', `mcp_${'a'.repeat(49)}`],
    ['a trailing line feed', `mcp_${'a'.repeat(48)}\n`],
    ['a leading space', ` mcp_${'a'.repeat(48)}`],
    ['two keys in two lines', `mcp_${'a'.repeat(48)}\nmcp_${'a'.repeat(48)}`],
    ['other letters', `mcp_${'g'.repeat(48)}`],
  ])('is not %s', (_, text) => {
    expect(parseKey(text)).toBeUndefined();
  });

  it('is accepted in no other spelling', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parseKey(`mcp_${text}`) === undefined).toBe(!/^[0-9a-f]{48}$/.test(text));
      }),
    );
  });

  it('cannot be read from its hash, which is its SHA-256', () => {
    expect(hashKey(`mcp_${'0'.repeat(48)}`).toString('hex')).toBe(
      'd7a99e6c109fd423f768ab36f7d9dad56cd7f79cdf19ccf4ae555d023bb5f5f8',
    );
  });
});

describe('scopes', () => {
  it('deny what was not given', () => {
    for (const scope of SCOPES) expect(hasScope({ scopes: [] }, scope)).toBe(false);
    expect(hasScope({ scopes: ['example', 'read'] }, 'invoke')).toBe(false);
    expect(hasScope({ scopes: ['example', 'read', 'invoke', 'publish'] }, 'all')).toBe(false);
  });

  it('let a key with all do everything', () => {
    for (const scope of SCOPES) expect(hasScope({ scopes: ['all'] }, scope)).toBe(true);
  });
});
