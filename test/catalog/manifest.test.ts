import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ManifestFacts, readManifest, writeManifest } from '../../src/catalog/manifest.ts';
import { hashMetadata } from '../../src/catalog/metadata-hash.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { LIMIT_CEILINGS, LIMIT_FLOORS } from '../../src/core/limits.ts';
import { createBody, parse, refusalOf } from './fixtures.ts';

const hash = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => sha256Hex(bytes));
const MIB = 1024 * 1024;
/** Limits as a publish JSON can say them: in whole units. */
const limits = fc.record(
  {
    runTimeoutMs: fc.integer({ min: LIMIT_FLOORS.runTimeoutMs, max: LIMIT_CEILINGS.runTimeoutMs }),
    memoryBytesMax: fc.integer({ min: 64, max: 1_024 }).map((count) => count * MIB),
    outputBytesMax: fc.integer({ min: 4, max: 8 * 1_024 }).map((count) => count * 1_024),
    tmpBytesMax: fc.integer({ min: 1, max: 256 }).map((count) => count * MIB),
    pidsMax: fc.integer({ min: LIMIT_FLOORS.pidsMax, max: LIMIT_CEILINGS.pidsMax }),
  },
  { requiredKeys: [] },
);
const facts: fc.Arbitrary<ManifestFacts> = fc.record({
  ...{ name: fc.string(), version: fc.string(), entrypoint: fc.string(), limits },
  tier: fc.constantFrom('hobbyist' as const, 'pro' as const),
  runtime: fc.constantFrom('python' as const, 'node' as const, 'elf' as const, null),
  ...{ codeSha256: hash, toolsHash: hash, rootSha256: fc.option(hash), layerSha256: fc.option(hash) },
  ...{ hosts: fc.array(fc.domain()), endpointUrl: fc.option(fc.webUrl()), isDeterministic: fc.boolean() },
  signature: fc.option(
    fc.record({
      format: fc.constantFrom('ssh' as const, 'openpgp' as const, 'minisign' as const),
      ...{ keyId: fc.string(), sha256: hash },
    }),
  ),
});

test('what is written is read back, and nobody reads an endpoint out of it', () => {
  fc.assert(
    fc.property(facts, (given) => {
      const text = writeManifest(given);
      const { endpointUrl, ...rest } = given;
      expect(readManifest(text)).toEqual({
        ...rest,
        endpointSha256: endpointUrl === null ? null : sha256Hex(endpointUrl),
      });
    }),
  );
  const secret = 'https://mcp.example.com/a-hidden-path';
  const [sample] = fc.sample(facts, 1);
  if (!sample) throw new Error('there is no sample');
  expect(writeManifest({ ...sample, endpointUrl: secret })).not.toContain('hidden');
});

test('two versions that differ in anything have two manifests', () => {
  fc.assert(
    fc.property(facts, facts, (one, other) => {
      const isSame =
        JSON.stringify(readManifest(writeManifest(one))) ===
        JSON.stringify(readManifest(writeManifest(other)));
      expect(writeManifest(one) === writeManifest(other)).toBe(isSame);
    }),
  );
});

test('a text in any other spelling, or with more or less in it, is no manifest', () => {
  const [sample] = fc.sample(facts, 1);
  if (!sample) throw new Error('there is no sample');
  const text = writeManifest(sample);
  const { code: _, ...less } = JSON.parse(text);
  const wrong = [
    ...['', '{', 'null', '[]', '{}', ` ${text}`, `${text}\n`, JSON.stringify(JSON.parse(text), null, 1)],
    JSON.stringify(less),
    text.replace('"v":1', '"v":2'),
    text.replace('{', '{"a":1,'),
    text.replace(/"limits":\{[^}]*\}/, '"limits":{"timeout_ms":1}'),
    text.replace(/"limits":\{[^}]*\}/, '"limits":{"unknown":1}'),
    text.replace(/"code":"sha256:/, '"code":"'),
    '['.repeat(200_000),
  ];
  for (const other of wrong) expect(readManifest(other), other.slice(0, 80)).toBeUndefined();
});

test('a signature and a promise are part of what was said of a version, and their absence of nothing', () => {
  const body = createBody();
  const said = (change: Record<string, unknown>) => hashMetadata(parse({ ...body, ...change }));
  const hashes = [{}, { signature: 'one' }, { signature: 'other' }, { deterministic: true }].map(said);
  expect(new Set(hashes).size).toBe(hashes.length);
  expect(said({ deterministic: false })).toBe(said({}));
});

test('a signature is bounded text, and a promise is true or false', async () => {
  const refuse = (change: Record<string, unknown>) => refusalOf(() => parse(createBody(change)));
  for (const signature of ['', 'x'.repeat(16 * 1024 + 1), 'é'.repeat(16 * 1024), 'a\u0000b', 'a\u202eb', 7]) {
    expect((await refuse({ signature })).options.members).toMatchObject({ field: 'signature' });
  }
  for (const deterministic of ['true', 1, null]) {
    expect((await refuse({ deterministic })).options.members).toMatchObject({ field: 'deterministic' });
  }
  const remote = { tier: 'pro', endpoint_url: 'https://mcp.example.com/', deterministic: true };
  const { files: _f, entrypoint: _e, language: _l, ...described } = createBody();
  const refusal = await refusalOf(() => parse({ ...described, ...remote }));
  expect(refusal.message).toContain('deterministic: is a promise about code that runs here');
});
