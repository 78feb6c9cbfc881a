import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { parsePublicKey, verifySignature } from '../../../src/provenance/signatures/signature.ts';
import { createSigningTools } from '../../harness/signing-tools.ts';

const tools = createSigningTools();
afterAll(() => tools.remove());

const { minisign } = tools;
const data = Buffer.from('the archive of a release');

async function judge(publicKey: string, signature: string, signed: Uint8Array = data) {
  const key = await parsePublicKey('minisign', publicKey);
  if (key.kind === 'refused') throw new Error(key.reason);
  const ours = await verifySignature({
    ...{ format: 'minisign', key: key.bytes, signature, data: signed, namespace: '', at: new Date() },
  });
  return { ours, theirs: minisign.verify(publicKey, signed, { signature }) };
}

test('what minisign signs is valid here and there, under the key id that minisign shows', async () => {
  const { path, publicKey } = minisign.makeKey();
  const signature = minisign.sign(path, data, ['-t', 'acme/tool 1.2.3, größer']);
  // minisign leaves out leading zeros.
  const keyId = /minisign public key ([0-9A-F]+)/.exec(publicKey)?.[1]?.padStart(16, '0');
  expect(await judge(publicKey, signature)).toEqual({
    ours: { kind: 'valid', keyId, signerId: keyId, signedAt: undefined },
    theirs: true,
  });
  const bare = publicKey.split('\n')[1] ?? '';
  expect(await parsePublicKey('minisign', bare)).toEqual(await parsePublicKey('minisign', publicKey));
});

test('other bytes, another key and another comment are refused here and there', async () => {
  const { path, publicKey } = minisign.makeKey();
  const signature = minisign.sign(path, data, ['-t', 'acme/tool 1.2.3']);
  const refused = [
    await judge(publicKey, signature, Buffer.from('other bytes')),
    await judge(minisign.makeKey().publicKey, signature),
    await judge(publicKey, signature.replace('1.2.3', '1.2.4')),
  ];
  const verdicts = refused.map(({ ours, theirs }) => [ours.kind, theirs]);
  expect(verdicts).toEqual([
    ['invalid', false],
    ['other-key', false],
    ['invalid', false],
  ]);
});

test('a legacy signature over the plain file is refused, as minisign -H refuses it', async () => {
  const { path, publicKey } = minisign.makeKey();
  const signature = minisign.sign(path, data, ['-l']);
  const { ours, theirs } = await judge(publicKey, signature);
  expect([ours, theirs]).toEqual([{ kind: 'invalid', reason: expect.stringContaining('legacy') }, false]);
  expect(minisign.verify(publicKey, data, { signature, options: [] })).toBe(true);
});

test('a signature with any byte changed is refused here and there', async () => {
  const { path, publicKey } = minisign.makeKey();
  const lines = minisign.sign(path, data, ['-t', 'acme/tool 1.2.3']).split('\n');
  for (const [line, bytes] of [1, 3].map((n) => [n, Buffer.from(lines[n] ?? '', 'base64')] as const)) {
    for (let index = 0; index < bytes.length; index += 5) {
      const changed = Buffer.from(bytes);
      changed[index] = (changed[index] ?? 0) ^ 0x10;
      const signature = lines.with(line, changed.toString('base64')).join('\n');
      const { ours, theirs } = await judge(publicKey, signature);
      expect([line, index, ours.kind === 'valid', theirs]).toEqual([line, index, false, false]);
    }
  }
});

test('what is no minisign key or signature is refused in words', async () => {
  const { path, publicKey } = minisign.makeKey();
  const key = await parsePublicKey('minisign', publicKey);
  const bytes = key.kind === 'key' ? key.bytes : Buffer.alloc(0);
  const weak = Buffer.concat([bytes.subarray(0, 10), Buffer.alloc(32)]);
  const texts = ['', 'x', `x\n${publicKey}`, weak.toString('base64'), bytes.subarray(1).toString('base64')];
  for (const text of texts) expect(await parsePublicKey('minisign', text)).toMatchObject({ kind: 'refused' });
  expect(await parsePublicKey('minisign', readFileSync(path, 'utf8'))).toMatchObject({
    reason: expect.stringContaining('secret key'),
  });
  const signature = minisign.sign(path, data);
  for (const text of [
    '',
    'untrusted comment:',
    `${signature}more`,
    signature.split('\n').slice(0, 2).join('\n'),
  ]) {
    const verdict = await verifySignature({
      ...{ format: 'minisign', key: bytes, signature: text, data, namespace: '', at: new Date() },
    });
    expect(verdict).toMatchObject({ kind: 'invalid' });
  }
});
