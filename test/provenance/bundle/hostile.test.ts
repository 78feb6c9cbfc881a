import fc from 'fast-check';
import { toBytes } from 'ox/Rlp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../../src/core/log.ts';
import { readAccount, readHeader, readSlot } from '../../../src/provenance/bundle/ethereum/state.ts';
import { readTrie } from '../../../src/provenance/bundle/ethereum/trie.ts';
import { RefutedError } from '../../../src/provenance/bundle/refuted.ts';
import { type Bundle, verifyBundle, verifyIssuedReceipt } from '../../../src/provenance/index.ts';
import { type Anvil, startAnvil } from '../../harness/chain.ts';
import { createScene } from './fixture.ts';

let anvil: Anvil;
let bundle: Bundle;

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  ({ bundle } = await createScene(anvil));
});
afterAll(() => anvil?.close());

const INVALID = { kind: 'invalid', reason: expect.stringMatching(/\S{3}/) };

/** Runs what must either answer or refute in words. */
function refutes(run: () => unknown): void {
  try {
    run();
  } catch (cause) {
    expect(cause).toBeInstanceOf(RefutedError);
  }
}

test('no JSON, no text and no object makes the verifier of bundles throw', () => {
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true, withBigInt: true }), (given) => {
      expect(verifyBundle(given)).toEqual(INVALID);
    }),
  );
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw new Error('mine');
      },
      ownKeys: () => {
        throw new Error('mine');
      },
    },
  );
  for (const given of [undefined, null, '', [], hostile, () => 1, Symbol('x'), new Map()]) {
    expect(verifyBundle(given)).toEqual(INVALID);
  }
});

test('no value in any place of a real bundle makes the verifier throw, and none is taken', () => {
  const names = Object.keys(bundle).filter((name) => name !== 'format') as (keyof Bundle)[];
  const anchorNames = Object.keys(bundle.anchor ?? {});
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.jsonValue(), (name, value) => {
      fc.pre(JSON.stringify(value) !== JSON.stringify(bundle[name]));
      expect(verifyBundle({ ...bundle, [name]: value })).toEqual(INVALID);
    }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...anchorNames),
      fc.oneof(fc.jsonValue(), fc.stringMatching(/^0x[0-9a-f]{0,80}$/)),
      (name, value) => {
        expect(verifyBundle({ ...bundle, anchor: { ...bundle.anchor, [name]: value } })).toEqual(INVALID);
      },
    ),
  );
});

test('nonsense of whatever kind given as trust is a verdict too', () => {
  const nonsense = [['x'], ['']];
  for (const texts of nonsense) {
    expect(verifyBundle(bundle, { vkeys: texts })).toEqual(INVALID);
    expect(verifyBundle(bundle, { witnesses: texts })).toEqual(INVALID);
    expect(verifyBundle(bundle, { blockHashes: texts })).toEqual(INVALID);
  }
  expect(verifyBundle(bundle, { contracts: [{ chainId: Number.NaN, address: '' }] })).toEqual(INVALID);
});

test('bytes that are no header, no account and no trie are refuted in words', () => {
  const bytes = fc.uint8Array({ maxLength: 700 });
  fc.assert(fc.property(bytes, (one) => refutes(() => readHeader(one))));
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 70 }), bytes, (nodes, root) => {
      refutes(() => readTrie({ root, key: root, nodes }, 'the proof'));
      refutes(() => readAccount(root, { address: root, nodes }));
      refutes(() => readSlot(root, { slot: 1n, nodes }));
    }),
  );
});

test('a header is read in its one spelling only', () => {
  const header = Buffer.from(bundle.anchor?.header.slice(2) ?? '', 'hex');
  expect(readHeader(header).hash).toBe(bundle.anchor?.blockHash);
  // A list whose length is spelled with more bytes than it takes, bytes after the end, and one cut off.
  const long = Buffer.concat([Buffer.from([0xfa, 0]), header.subarray(1)]);
  // The library takes it.
  expect(toBytes(long)).toHaveLength(toBytes(header).length);
  for (const other of [
    long,
    Buffer.concat([header, Buffer.from([0])]),
    header.subarray(0, -1),
    Buffer.alloc(0),
  ]) {
    expect(() => readHeader(other)).toThrow(RefutedError);
  }
  // As deep as bytes go.
  expect(() => readHeader(Buffer.alloc(8_192, 0xc1))).toThrow(RefutedError);
  expect(() => readHeader(Buffer.alloc(8_193, 0xc1))).toThrow(/too long/);
});

test('no answer makes the verifier of receipts throw', async () => {
  const trust = { jwks: { keys: [] } };
  await fc.assert(
    fc.asyncProperty(fc.anything(), async (given) => {
      expect(await verifyIssuedReceipt(given, trust)).toEqual(INVALID);
    }),
  );
  const text = fc.string({ maxLength: 100 });
  const log = fc.record({
    ...{ origin: text, index: fc.nat(), entry: text, proof: text },
    salt: fc.constant('ab'.repeat(16)),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.record({ ok: fc.constant(true), receipt: fc.jsonValue(), jws: text, log }),
      async (given) => {
        expect(await verifyIssuedReceipt(given, trust)).toEqual(INVALID);
      },
    ),
  );
});
