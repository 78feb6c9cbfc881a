import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import { afterAll, expect, test } from 'vitest';
import { isEd25519Key, verifyEd25519 } from '../../../src/provenance/signatures/ed25519.ts';
import { parsePublicKey, verifySignature } from '../../../src/provenance/signatures/signature.ts';
import { createSigningTools } from '../../harness/signing-tools.ts';

const tools = createSigningTools();
afterAll(() => tools.remove());

const { ssh } = tools;
const namespace = 'mcp-release@market.example';
const data = Buffer.from('the archive of a release');
const at = new Date();

async function readKey(text: string) {
  const key = await parsePublicKey('ssh', text);
  if (key.kind === 'refused') throw new Error(key.reason);
  return key;
}

/** What we say beside what ssh-keygen says. */
async function judge(
  publicKey: string,
  signature: string,
  over: { data?: Uint8Array; namespace?: string } = {},
) {
  const input = { data, namespace, ...over };
  const { bytes } = await readKey(publicKey);
  const ours = await verifySignature({ format: 'ssh', key: bytes, signature, at, ...input });
  return { ours, theirs: ssh.verify(publicKey, input.data, { signature, namespace: input.namespace }) };
}

test.each([
  ['ed25519', []],
  ['rsa', ['-b', '3072']],
  ['ecdsa', ['-b', '256']],
  ['ecdsa', ['-b', '384']],
  ['ecdsa', ['-b', '521']],
])('what ssh-keygen signs with %s %j is valid here and there, and nothing else is', async (type, options) => {
  const { path, publicKey } = ssh.makeKey(type, options);
  const key = await readKey(publicKey);
  expect(key.keyId).toBe(ssh.fingerprint(publicKey));
  for (const hash of ['sha256', 'sha512']) {
    const signature = ssh.sign(path, data, { namespace, options: ['-O', `hashalg=${hash}`] });
    expect(await judge(publicKey, signature)).toEqual({
      ours: { kind: 'valid', keyId: key.keyId, signerId: key.keyId, signedAt: undefined },
      theirs: true,
    });
    for (const over of [{ data: Buffer.from('other bytes') }, { namespace: 'git' }]) {
      const { ours, theirs } = await judge(publicKey, signature, over);
      expect([ours.kind, theirs]).toEqual(['invalid', false]);
    }
    const other = await judge(ssh.makeKey(type, options).publicKey, signature);
    expect([other.ours.kind, other.theirs]).toEqual(['other-key', false]);
  }
});

test('a signature with any byte changed is refused here and there', async () => {
  const { path, publicKey } = ssh.makeKey();
  const bytes = unarmor(ssh.sign(path, data, { namespace }));
  for (let index = 0; index < bytes.length; index += 7) {
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 0x01;
    const { ours, theirs } = await judge(publicKey, armor(changed));
    expect([index, ours.kind === 'valid', theirs]).toEqual([index, false, false]);
  }
  for (const spoiled of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.alloc(1)])]) {
    const { ours, theirs } = await judge(publicKey, armor(spoiled));
    expect([ours.kind, theirs]).toEqual(['invalid', false]);
  }
});

test('an RSA signature by SHA-1 is refused here and there', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
  const blob = Buffer.concat([
    spell('ssh-rsa'),
    spell(Buffer.from(e, 'base64url')),
    spell(Buffer.concat([Buffer.alloc(1), Buffer.from(n, 'base64url')])),
  ]);
  const signWith = (algorithm: string, hash: string) =>
    makeSshsig(blob, (message) => Buffer.concat([spell(algorithm), spell(sign(hash, message, privateKey))]));
  const line = `ssh-rsa ${blob.toString('base64')}`;
  const good = await judge(line, signWith('rsa-sha2-512', 'sha512'));
  expect([good.ours.kind, good.theirs]).toEqual(['valid', true]);
  const broken = await judge(line, signWith('ssh-rsa', 'sha1'));
  expect([broken.ours.kind, broken.theirs]).toEqual(['invalid', false]);
});

test('a security key counts when somebody touched it', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const x = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const type = 'sk-ssh-ed25519@openssh.com';
  const blob = Buffer.concat([spell(type), spell(x), spell('ssh:')]);
  const signWith = (flags: number) =>
    makeSshsig(blob, (message) => {
      const added = Buffer.from([flags, 0, 0, 0, 9]);
      const signed = Buffer.concat([sha256(Buffer.from('ssh:')), added, sha256(message)]);
      return Buffer.concat([spell(type), spell(sign(null, signed, privateKey)), added]);
    });
  const line = `${type} ${blob.toString('base64')}`;
  const touched = await judge(line, signWith(1));
  expect([touched.ours.kind, touched.theirs]).toEqual(['valid', true]);
  const { ours } = await judge(line, signWith(0));
  expect(ours.kind).toBe('invalid');
});

test('a point of small order is no key: anyone could sign for it', async () => {
  const one = Buffer.alloc(32);
  one[0] = 1;
  // R = the neutral element and s = 0 satisfy the equation for every message.
  const signature = Buffer.concat([one, Buffer.alloc(32)]);
  const { x } = { x: one.toString('base64url') };
  const isTakenByOpenssl = verify(
    null,
    data,
    { key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' },
    signature,
  );
  expect(isTakenByOpenssl).toBe(true);
  expect(isEd25519Key(one)).toBe(false);
  expect(verifyEd25519(one, { message: data, signature })).toBe(false);
  const line = `ssh-ed25519 ${Buffer.concat([spell('ssh-ed25519'), spell(one)]).toString('base64')}`;
  expect(await parsePublicKey('ssh', line)).toMatchObject({ kind: 'refused' });
});

test('a signature whose R is of small order is refused, as libsodium does', () => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const { d = '', x = '' } = privateKey.export({ format: 'jwk' });
  const publicKey = Buffer.from(x, 'base64url');
  const secret = createHash('sha512').update(Buffer.from(d, 'base64url')).digest().subarray(0, 32);
  secret[0] = (secret[0] ?? 0) & 248;
  secret[31] = ((secret[31] ?? 0) & 127) | 64;
  const one = Buffer.alloc(32);
  one[0] = 1;
  // With r = 0, R is the neutral element and s = h * a: the equation holds, and the secret scalar can be read off.
  const h = readScalar(createHash('sha512').update(one).update(publicKey).update(data).digest());
  const s = (h * readScalar(secret)) % (2n ** 252n + 27742317777372353535851937790883648493n);
  const signature = Buffer.concat([one, Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse()]);
  const key = { key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' } as const;
  expect(verify(null, data, key, signature)).toBe(true);
  expect(verifyEd25519(publicKey, { message: data, signature })).toBe(false);
});

test('a key has one spelling: no coordinate of p and above', () => {
  const { x = '' } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
  expect(isEd25519Key(Buffer.from(x, 'base64url'))).toBe(true);
  for (const first of [0xed, 0xf0, 0xff]) {
    const above = Buffer.alloc(32, 0xff);
    above[0] = first;
    expect(isEd25519Key(above)).toBe(false);
  }
});

test('what is not one public key of a type that is taken is refused in words', async () => {
  const { path, publicKey } = ssh.makeKey();
  const [type = '', base64 = ''] = publicKey.split(' ');
  const bytes = Buffer.from(base64, 'base64');
  const refused = [
    '',
    'ssh-ed25519',
    `ssh-rsa ${base64}`,
    `${publicKey}${publicKey}`,
    `command="x" ${publicKey}`,
    `${type} ${bytes.subarray(0, -1).toString('base64')}`,
    `${type} ${Buffer.concat([bytes, Buffer.alloc(1)]).toString('base64')}`,
    `ssh-dss ${spell('ssh-dss').toString('base64')}`,
    `${type} ${'A'.repeat(100_000)}`,
    ssh.makeKey('rsa', ['-b', '1024']).publicKey,
  ];
  for (const text of refused) {
    const key = await parsePublicKey('ssh', text);
    expect([text.slice(0, 30), key.kind]).toEqual([text.slice(0, 30), 'refused']);
  }
  const { readFileSync } = await import('node:fs');
  expect(await parsePublicKey('ssh', readFileSync(path, 'utf8'))).toMatchObject({
    reason: expect.stringContaining('private key'),
  });
});

test('texts that are no signature are refused in words, whatever they are', async () => {
  const { bytes } = await readKey(ssh.makeKey().publicKey);
  const texts = [
    '',
    'x',
    armor(Buffer.alloc(0)),
    armor(Buffer.from('SSHSIG')),
    armor(Buffer.alloc(9_000, 0xff)),
    'A'.repeat(20_000),
  ];
  for (const signature of texts) {
    const verdict = await verifySignature({ format: 'ssh', key: bytes, signature, data, namespace, at });
    expect(verdict.kind).toBe('invalid');
  }
});

/** A signature as ssh-keygen would write it, with a blob of our own making. */
function makeSshsig(publicKey: Buffer, signBlob: (message: Buffer) => Buffer): string {
  const digest = createHash('sha512').update(data).digest();
  const head = [spell(namespace), spell(''), spell('sha512')];
  const message = Buffer.concat([Buffer.from('SSHSIG'), ...head, spell(digest)]);
  const version = Buffer.from([0, 0, 0, 1]);
  return armor(
    Buffer.concat([Buffer.from('SSHSIG'), version, spell(publicKey), ...head, spell(signBlob(message))]),
  );
}

function spell(content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** A little-endian number. */
function readScalar(bytes: Buffer): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function armor(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,70}/g) ?? [];
  return ['-----BEGIN SSH SIGNATURE-----', ...lines, '-----END SSH SIGNATURE-----', ''].join('\n');
}

function unarmor(text: string): Buffer {
  return Buffer.from(text.split('\n').slice(1, -2).join(''), 'base64');
}
