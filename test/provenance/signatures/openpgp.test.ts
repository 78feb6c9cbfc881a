import * as openpgp from 'openpgp';
import { afterAll, expect, test } from 'vitest';
import {
  detectFormat,
  parsePublicKey,
  verifySignature,
} from '../../../src/provenance/signatures/signature.ts';
import { createSigningTools } from '../../harness/signing-tools.ts';

const tools = createSigningTools();
afterAll(() => tools.remove());

const { gpg } = tools;
const data = Buffer.from('the archive of a release');
const DAY_MS = 86_400_000;
const now = new Date();
const inDays = (days: number) => new Date(now.getTime() + days * DAY_MS);

async function readKey(text: string) {
  const key = await parsePublicKey('openpgp', text);
  if (key.kind === 'refused') throw new Error(key.reason);
  return key;
}

/** What we say beside what gpg says of the very bytes that we would put into the log. */
async function judge(
  publicKey: string,
  signature: string | Buffer,
  { signed = data, at = now }: { signed?: Uint8Array; at?: Date } = {},
) {
  const { bytes, keyId } = await readKey(publicKey);
  const text = typeof signature === 'string' ? signature : signature.toString('base64');
  const ours = await verifySignature({
    ...{ format: 'openpgp', key: bytes, signature: text, data: signed, namespace: '', at },
  });
  return { ours, theirs: gpg.verify(bytes, signed, { signature, fingerprint: keyId, at }) };
}

const refusedByBoth = (reason: string) => ({
  ours: { kind: 'invalid', reason: expect.stringContaining(reason) },
  theirs: false,
});

test.each(['ed25519', 'rsa3072', 'nistp256', 'nistp384', 'nistp521'])(
  'what gpg signs with %s is valid here and there, and other bytes and other keys are not',
  async (algorithm) => {
    const fingerprint = gpg.makeKey({ algorithm, at: inDays(-2) });
    const publicKey = gpg.exportKey(fingerprint);
    const signature = gpg.sign(fingerprint, data);
    expect(await judge(publicKey, signature)).toEqual({
      ours: {
        ...{ kind: 'valid', keyId: fingerprint, signerId: fingerprint },
        signedAt: expect.any(Date),
      },
      theirs: true,
    });
    expect(await judge(publicKey, signature, { signed: Buffer.from('other bytes') })).toEqual(
      refusedByBoth('over these bytes'),
    );
    const other = gpg.exportKey(gpg.makeKey({ algorithm, at: inDays(-2) }));
    expect(await judge(other, signature)).toEqual({
      ours: { kind: 'other-key', reason: expect.stringContaining(`by key ${fingerprint}`) },
      theirs: false,
    });
  },
);

test('a binary signature, sent as base64, is as good as an armored one', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-1) });
  const binary = gpg.signBinary(fingerprint, data);
  const publicKey = gpg.exportKey(fingerprint);
  expect(await judge(publicKey, binary)).toMatchObject({ ours: { kind: 'valid' }, theirs: true });
  expect([binary.toString('base64'), gpg.sign(fingerprint, data)].map(detectFormat)).toEqual([
    'openpgp',
    'openpgp',
  ]);
  const { bytes } = await readKey(publicKey);
  expect(await readKey(bytes.toString('base64'))).toEqual(await readKey(publicKey));
});

test('a subkey signs for its key, and is named', async () => {
  const fingerprint = gpg.makeKey({ usage: 'cert', at: inDays(-3) });
  const subkey = gpg.addSubkey(fingerprint, { at: inDays(-2) });
  const verdict = await judge(gpg.exportKey(fingerprint), gpg.sign(subkey, data));
  expect(verdict).toMatchObject({
    ours: { kind: 'valid', keyId: fingerprint, signerId: subkey },
    theirs: true,
  });
});

test('an expired key and an expired subkey are refused here and there, and were good before', async () => {
  const fingerprint = gpg.makeKey({ expires: '5d', at: inDays(-2) });
  const subkey = gpg.addSubkey(fingerprint, { expires: '3d', at: inDays(-2) });
  const publicKey = gpg.exportKey(fingerprint);
  const { expiresAt } = await readKey(publicKey);
  expect(Math.abs((expiresAt?.getTime() ?? 0) - inDays(3).getTime())).toBeLessThan(60_000);
  for (const [signer, goodUntil] of [
    [fingerprint, 2],
    [subkey, 0.5],
  ] as const) {
    const signature = gpg.sign(signer, data);
    const good = await judge(publicKey, signature, { at: inDays(goodUntil) });
    expect(good).toMatchObject({ ours: { kind: 'valid' }, theirs: true });
    const late = await judge(publicKey, signature, { at: inDays(goodUntil + 1.5) });
    expect(late).toEqual(refusedByBoth('expired'));
  }
});

test('a revoked key is not taken, and a revoked subkey refused here and there', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-2) });
  const subkey = gpg.addSubkey(fingerprint, { at: inDays(-1) });
  const [byKey, bySubkey] = [fingerprint, subkey].map((signer) => gpg.sign(signer, data));
  gpg.revokeSubkey(fingerprint);
  const publicKey = gpg.exportKey(fingerprint);
  const later = { at: inDays(1) };
  expect(await judge(publicKey, byKey ?? '', later)).toMatchObject({ ours: { kind: 'valid' }, theirs: true });
  expect(await judge(publicKey, bySubkey ?? '', later)).toEqual(refusedByBoth('revoked'));
  gpg.revoke(fingerprint);
  const revoked = gpg.exportKey(fingerprint);
  expect(await parsePublicKey('openpgp', revoked)).toEqual({ kind: 'refused', reason: 'the key is revoked' });
  const theirs = gpg.verify(revoked, data, { signature: byKey ?? '', fingerprint, ...later });
  expect(theirs).toBe(false);
  const key = Buffer.from(revoked.split('\n\n')[1]?.replace(/\n=[\s\S]*$/, '') ?? '', 'base64');
  const ours = await verifySignature({
    ...{ format: 'openpgp', key, signature: byKey ?? '', data, namespace: '', at: now },
  });
  expect(ours).toEqual({ kind: 'invalid', reason: 'the key is revoked' });
});

test('a revocation counts whenever it was made, and for whatever reason', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-3) });
  const subkey = gpg.addSubkey(fingerprint, { at: inDays(-3) });
  const signature = gpg.sign(subkey, data, { at: inDays(-2) });
  const before = await judge(gpg.exportKey(fingerprint), signature, { at: inDays(-1) });
  expect(before).toMatchObject({ ours: { kind: 'valid' }, theirs: true });
  gpg.revokeSubkey(fingerprint, 2);
  const publicKey = gpg.exportKey(fingerprint);
  const { ours } = await judge(publicKey, signature, { at: inDays(-1) });
  expect(ours).toEqual({ kind: 'invalid', reason: 'the subkey is revoked' });
  expect(await judge(publicKey, signature)).toEqual(refusedByBoth('revoked'));
});

test('a signature that names another fingerprint than its key id belongs to is not taken', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-1) });
  const whole = await openpgp.readSignature({ armoredSignature: gpg.sign(fingerprint, data) });
  const other = Buffer.from(gpg.makeKey(), 'hex');
  // Subpacket 33: the version of the key, and its fingerprint (RFC 9580, 5.2.3.35).
  whole.packets[0]?.unhashedSubpackets.push({
    ...{ type: 33, critical: false, body: new Uint8Array([4, ...other]) },
  });
  const signature = Buffer.from(whole.write());
  const { ours } = await judge(gpg.exportKey(fingerprint), signature);
  expect(ours).toMatchObject({ kind: 'other-key' });
});

test('the signer does not choose the time: neither after the log nor before his key', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-2) });
  const publicKey = gpg.exportKey(fingerprint);
  const signature = gpg.sign(fingerprint, data);
  const { ours } = await judge(publicKey, signature, { at: new Date(now.getTime() - 3_600_000) });
  expect(ours).toMatchObject({ reason: expect.stringContaining('future') });
  const early = gpg.sign(fingerprint, data, { at: inDays(-10), options: ['--ignore-time-conflict'] });
  expect(await judge(publicKey, early)).toEqual(refusedByBoth('older than its key'));
});

test('a signature that has expired is refused here and there', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-2) });
  const publicKey = gpg.exportKey(fingerprint);
  const signature = gpg.sign(fingerprint, data, { options: ['--default-sig-expire', '2d'] });
  expect(await judge(publicKey, signature, { at: inDays(1) })).toMatchObject({
    ours: { kind: 'valid' },
    theirs: true,
  });
  expect(await judge(publicKey, signature, { at: inDays(3) })).toEqual(refusedByBoth('expired'));
});

test('what openpgp.js signs, gpg verifies, and so do we', async () => {
  for (const options of [
    { type: 'ecc', curve: 'ed25519Legacy' },
    { type: 'ecc', curve: 'nistP256' },
    { type: 'rsa', rsaBits: 2048 },
  ] as const) {
    const { privateKey, publicKey } = await openpgp.generateKey({
      ...{ ...options, userIDs: [{ name: 'Acme' }], date: inDays(-1), format: 'object' },
    });
    const message = await openpgp.createMessage({ binary: new Uint8Array(data) });
    const signature = await openpgp.sign({ message, signingKeys: privateKey, detached: true });
    const verdict = await judge(publicKey.armor(), String(signature));
    expect(verdict).toMatchObject({ ours: { kind: 'valid' }, theirs: true });
  }
});

test('text signatures, several signatures, weak hashes and algorithms that gpg does not know are refused', async () => {
  const fingerprint = gpg.makeKey({ algorithm: 'rsa2048', at: inDays(-1) });
  const publicKey = gpg.exportKey(fingerprint);
  const judgeOurs = async (signature: string) => (await judge(publicKey, signature)).ours;
  expect(await judgeOurs(gpg.sign(fingerprint, data, { options: ['--textmode'] }))).toMatchObject({
    reason: expect.stringContaining('--textmode'),
  });
  expect(await judgeOurs(gpg.sign(fingerprint, data, { options: ['--digest-algo', 'SHA1'] }))).toMatchObject({
    reason: expect.stringContaining('hash is weak'),
  });
  const binary = gpg.signBinary(fingerprint, data);
  expect(await judgeOurs(Buffer.concat([binary, binary]).toString('base64'))).toMatchObject({
    reason: expect.stringContaining('exactly one'),
  });
  const modern = await openpgp.generateKey({ type: 'curve25519', userIDs: [{ name: 'Acme' }] });
  expect(await parsePublicKey('openpgp', modern.publicKey)).toMatchObject({
    reason: expect.stringContaining('ed25519'),
  });
  for (const algorithm of ['rsa1024', 'dsa2048', 'brainpoolP256r1', 'secp256k1']) {
    const weak = gpg.exportKey(gpg.makeKey({ algorithm }));
    expect([algorithm, (await parsePublicKey('openpgp', weak)).kind]).toEqual([algorithm, 'refused']);
  }
});

test("other people's certifications are left out, and gpg still takes what is left", async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-1) });
  const before = await readKey(gpg.exportKey(fingerprint));
  const signature = gpg.sign(fingerprint, data);
  const friend = gpg.makeKey();
  gpg.certify(friend, fingerprint);
  const certified = gpg.exportKey(fingerprint);
  expect(certified.length).toBeGreaterThan(before.bytes.length * 1.6);
  expect((await readKey(certified)).bytes).toEqual(before.bytes);
  expect(await judge(certified, signature)).toMatchObject({ ours: { kind: 'valid' }, theirs: true });
});

test('a signature with any byte changed is not valid, and what is valid here is valid for gpg', async () => {
  const fingerprint = gpg.makeKey({ at: inDays(-1) });
  const { bytes: key } = await readKey(gpg.exportKey(fingerprint));
  const binary = gpg.signBinary(fingerprint, data);
  for (let index = 0; index < binary.length; index += 1) {
    const changed = Buffer.from(binary);
    changed[index] = (changed[index] ?? 0) ^ 0x04;
    const signature = changed.toString('base64');
    const { kind } = await verifySignature({
      format: 'openpgp',
      key,
      signature,
      data,
      namespace: '',
      at: now,
    });
    // The unhashed part, which says who signed, is not signed itself.
    const theirs = kind === 'valid' && gpg.verify(key, data, { signature: changed, fingerprint });
    expect([index, kind === 'valid']).toEqual([index, theirs]);
  }
});

test('what is no OpenPGP key or signature is refused in words', async () => {
  const fingerprint = gpg.makeKey();
  const publicKey = gpg.exportKey(fingerprint);
  const { bytes } = await readKey(publicKey);
  const two = Buffer.concat([bytes, (await readKey(gpg.exportKey(gpg.makeKey()))).bytes]).toString('base64');
  const texts = [
    '',
    'x',
    two,
    publicKey.slice(0, 200),
    gpg.sign(fingerprint, data),
    bytes.subarray(0, 60).toString('base64'),
  ];
  for (const text of [
    ...texts,
    gpg.exportSecretKey(fingerprint),
    Buffer.alloc(300, 0x99).toString('base64'),
  ]) {
    expect((await parsePublicKey('openpgp', text)).kind).toBe('refused');
  }
  for (const signature of ['', 'x', publicKey, 'iHUEABYKAB0=', Buffer.alloc(400, 0xc2).toString('base64')]) {
    const verdict = await verifySignature({
      format: 'openpgp',
      key: bytes,
      signature,
      data,
      namespace: '',
      at: now,
    });
    expect(verdict.kind).toBe('invalid');
  }
});
