import { describe, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { createPrincipalCache, type Known } from '../../src/keys/principal-cache.ts';

function createKnown(keyId = newUuid()): Known {
  return {
    principal: {
      keyId,
      accountId: newUuid(),
      publisherId: undefined,
      scopes: ['invoke'],
      ancestorIds: [],
      capIds: [],
      tools: undefined,
    },
    expiresAt: undefined,
  };
}

describe('the cache of principals', () => {
  it('forgets a key a second after it was read, however often it is used', () => {
    const cache = createPrincipalCache({ entriesMax: 10, ttlMs: 1_000 });
    cache.set('a', createKnown(), 0);
    expect(cache.get('a', 500)).toBeDefined();
    expect(cache.get('a', 999)).toBeDefined();
    expect(cache.get('a', 1_000)).toBeUndefined();
  });

  it('forgets a key when the clock is set back: a replaced secret would live on for as long as that', () => {
    const cache = createPrincipalCache({ entriesMax: 10, ttlMs: 1_000 });
    cache.set('a', createKnown(), 900_000);
    expect(cache.get('a', 100)).toBeUndefined();
    expect(cache.get('a', 900_500)).toBeUndefined();
  });

  it('never holds more than its bound, and drops the one that was found first', () => {
    const cache = createPrincipalCache({ entriesMax: 2, ttlMs: 1_000 });
    cache.set('a', createKnown(), 0);
    cache.set('b', createKnown(), 0);
    cache.get('a', 1);
    cache.set('c', createKnown(), 2);
    expect(cache.get('a', 3)).toBeUndefined();
    expect(cache.get('b', 3)).toBeDefined();
    expect(cache.get('c', 3)).toBeDefined();
  });

  it('forgets a revoked key', () => {
    const cache = createPrincipalCache({ entriesMax: 10, ttlMs: 1_000 });
    const known = createKnown();
    cache.set('a', known, 0);
    cache.forget([known.principal.keyId]);
    expect(cache.get('a', 1)).toBeUndefined();
  });
});
