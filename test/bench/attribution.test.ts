import { createHash, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { Session } from 'node:inspector/promises';
import { SignJWT } from 'jose';
import { expect, test } from 'vitest';
import { attribute, type Profile } from '../../scripts/bench/profile/attribution.ts';

const RUN_MS = 300;
const key = generateKeyPairSync('ed25519').privateKey;
const data = Buffer.alloc(20_000, 7);

async function shareOf(work: () => unknown): Promise<number> {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: 200 });
    await session.post('Profiler.start');
    const end = performance.now() + RUN_MS;
    while (performance.now() < end) await work();
    const { busy, crypto } = attribute((await session.post('Profiler.stop')).profile);
    expect(busy).toBeGreaterThan(0);
    return crypto / busy;
  } finally {
    session.disconnect();
  }
}

test('a real profile of nothing but hashes, MACs and signatures is crypto, and one of JSON is not', async () => {
  expect(await shareOf(() => createHash('sha256').update(data).digest('hex'))).toBeGreaterThan(0.8);
  expect(await shareOf(() => createHmac('sha256', 'key').update(data).digest())).toBeGreaterThan(0.8);
  expect(await shareOf(() => sign(null, data, key))).toBeGreaterThan(0.8);
  expect(await shareOf(() => JSON.parse(JSON.stringify({ some: [1, 2, 3], text: 'x'.repeat(500) })))).toBe(0);
});

test('what a package of crypto does counts, also outside of the functions of Node', async () => {
  const build = () => new SignJWT({ a: 'b'.repeat(2_000) }).setProtectedHeader({ alg: 'EdDSA' });
  expect(await shareOf(() => build().sign(key))).toBeGreaterThan(0.3);
});

test('a sample counts until the next one, waiting counts for nothing, and native code for who called it', () => {
  const frame = (functionName: string, url = '') => ({ functionName, url });
  const profile: Profile = {
    nodes: [
      { id: 1, callFrame: frame('(root)'), children: [2, 3, 5, 6] },
      { id: 2, callFrame: frame('(idle)') },
      { id: 3, callFrame: frame('sign', 'node:internal/crypto/sig'), children: [4] },
      { id: 4, callFrame: frame('signOneShot') },
      { id: 5, callFrame: frame('answer', 'file:///src/http/crypto.ts') },
      { id: 6, callFrame: frame('signOneShot') },
    ],
    samples: [2, 4, 3, 5, 6, 2],
    timeDeltas: [0, 1_000, 10, 20, 300, 70],
  };
  expect(attribute(profile)).toEqual({ busy: 10 + 20 + 300 + 70, crypto: 10 + 20 });
});
